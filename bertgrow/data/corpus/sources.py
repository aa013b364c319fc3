"""Opens inputs as sources of documents; a document is a text with one paragraph per line.

An input is a path or glob of `.txt`, `.jsonl` or `.parquet` (each also `.gz .xz .zst`),
`tfds:NAME[:split]`, or `docs`, the documentation of the installed Python packages.
"""

import glob
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import documentation, files, tfds

LONGEST = 2**20  # characters; longer documents are cut at line ends, to bound memory
FORMATS = (".txt", ".jsonl", ".parquet")


class Source(NamedTuple):
    """A source of documents.

    `raw(bad) -> iterator` yields raw documents in a fixed order; each is cheap to send to a
    worker. `read(raw) -> text` runs in the worker. `weight(raw)` estimates the number of
    characters of that text. `bad(message)` is called for every document whose bytes are not
    UTF-8, and may raise.
    """

    name: str  # file name without its folder, since store.json keeps it
    fingerprint: str  # sha256 of the content
    raw: Callable
    read: Callable
    weight: Callable


def find(inputs):
    """Returns the sources of a list of inputs in a fixed order, each content once."""
    sources = []
    for name in inputs:
        if name == "docs":
            sources.append(_documentation())
        elif name.startswith("tfds:"):
            sources.append(_tfds(name))
        else:
            sources.extend(_file(path) for path in _paths(name))
    unique = {source.fingerprint: source for source in sources}
    return sorted(unique.values(), key=lambda source: (source.name, source.fingerprint))


def _documentation():
    modules = documentation.modules()
    digest = hashlib.sha256()
    for name in modules:
        digest.update(f"{name}\0{_digest(documentation.locate(name))}\0".encode())
    return Source(
        "docs",
        digest.hexdigest(),
        lambda bad: modules,
        documentation.read,
        documentation.weight,
    )


def _tfds(name):
    identity, texts = tfds.open_dataset(name)
    fingerprint = hashlib.sha256(identity.encode()).hexdigest()
    return Source(name, fingerprint, lambda bad: _bounded(texts(bad)), same, len)


def _paths(pattern):
    path = Path(pattern)
    if path.is_dir():
        raise InputError(
            f"--input {pattern} is a folder; give files or a glob, e.g. '{pattern}/*.txt'"
        )
    if path.exists():
        return [path]
    if not glob.has_magic(pattern):
        raise InputError(
            f"--input {pattern}: there is no such file; give a file, a glob or 'docs'"
        )
    paths = sorted(Path(p) for p in glob.glob(pattern, recursive=True) if Path(p).is_file())
    if not paths:
        raise InputError(
            f"--input '{pattern}' matches no file; check the pattern and its folder"
        )
    return paths


def _file(path):
    name = path.name.removesuffix(files.compression(path))
    kind = Path(name).suffix
    if kind not in FORMATS:
        raise InputError(
            f"{path}: expected .txt, .jsonl or .parquet, each also with .gz, .xz or .zst"
        )
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; leave it out or give a file with text")
    texts = {".txt": lines_to_texts, ".jsonl": json_texts, ".parquet": parquet_texts}[kind]

    def raw(bad):
        count = 0
        with files.damage_as_input_error(path):
            for count, text in enumerate(_bounded(texts(path, bad)), 1):  # noqa: B007
                yield text
        if not count:
            raise InputError(f"{path} holds no usable text; leave it out or check its format")

    return Source(path.name, _digest(path), raw, same, len)


def same(raw):
    """Returns `raw`: the `read` function of sources whose raw documents are texts."""
    return raw


def lines_to_texts(path, bad):
    """Yields the documents of a text file: runs of lines between blank lines."""
    lines, size, first = [], 0, 1
    with files.open_bytes(path) as stream:
        for number, line in enumerate(stream, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")  # the byte order mark
            line = line.strip()
            if line:
                first = first if lines else number
                lines.append(line)
                size += len(line)
            if lines and (not line or size > LONGEST):
                yield from _decoded(lines, path, first, bad)
                lines, size = [], 0
    if lines:
        yield from _decoded(lines, path, first, bad)


def json_texts(path, bad):
    """Yields the documents of a JSON-lines file: the field "text" of every line."""
    with files.open_bytes(path) as stream:
        for number, line in enumerate(stream, 1):
            for text in _decoded([line.strip()], path, number, bad):
                if text:
                    yield _text_field(text, f"{path}:{number}")


def parquet_texts(path, bad):
    """Yields the documents of a Parquet file: its column "text"."""
    import pyarrow
    from pyarrow import parquet

    with files.open_seekable(path) as stream:
        try:
            table = parquet.ParquetFile(stream)
        except pyarrow.ArrowInvalid as error:
            raise InputError(f"{path} is not a Parquet file: {error}") from None
        if "text" not in table.schema_arrow.names:
            raise InputError(
                f"{path}: expected a column 'text', found {table.schema_arrow.names}"
            )
        row = 0
        for batch in table.iter_batches(batch_size=256, columns=["text"]):
            # Cast to bytes: a string column may hold bytes that are not valid UTF-8.
            for value in batch.column(0).cast(pyarrow.binary()):
                row += 1
                if value.is_valid:
                    yield from _decoded([value.as_py()], path, row, bad)


def _text_field(line, location):
    try:
        text = json.loads(line).get("text")
    except (json.JSONDecodeError, AttributeError):
        raise InputError(f"{location} is not a JSON object; expected {{'text': ...}}") from None
    if not isinstance(text, str):
        raise InputError(
            f"{location} has no string in its field 'text'; rename the field to 'text'"
        )
    return text


def _decoded(lines, path, first, bad):
    try:
        yield b"\n".join(lines).decode()
    except UnicodeDecodeError:
        for number, line in enumerate(lines, first):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                bad(f"{path}:{number}: {error.reason} at byte {error.start}, not UTF-8")
                return


def _bounded(texts):
    """Drops blank texts and cuts texts longer than `LONGEST` at line ends."""
    for text in texts:
        while len(text) > LONGEST:
            end = text.rfind("\n", 0, LONGEST) + 1 or LONGEST
            if text[:end].strip():
                yield text[:end]
            text = text[end:]
        if text.strip():
            yield text


def _digest(path):
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
