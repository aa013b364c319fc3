"""Opens inputs as sources of documents; a document is a text with one paragraph per line.

An input is a path or glob of `.txt`, `.jsonl` or `.parquet` (each also `.gz .xz .zst`),
`tfds:NAME[:split]`, or `docs`, the documentation of the installed Python packages.
"""

import codecs
import glob
import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bertgrow.core import system_files
from bertgrow.core.errors import InputError
from bertgrow.data.corpus import documentation, files, tfds

LONGEST = 2**20  # characters; longer documents are cut at line ends, to bound memory
LONGEST_LINE = 2**26  # bytes; a longer line is refused
UTF16 = "; it looks like UTF-16: convert it with iconv -f UTF-16 -t UTF-8"
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
        content = system_files.sha256(documentation.locate(name))
        digest.update(f"{name}\0{content}\0".encode())
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

    return Source(path.name, system_files.sha256(path), raw, same, len)


def same(raw):
    """Returns `raw`: the `read` function of sources whose raw documents are texts."""
    return raw


def lines_to_texts(path, bad):
    """Yields the documents of a text file: runs of lines between blank lines."""
    lines, size, first = [], 0, 1
    for number, line in _lines(path):
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
    for number, line in _lines(path):
        for text in _decoded([line], path, number, bad):
            if text:
                # Escapes may stand for what UTF-8 cannot encode, so the text is checked again.
                text = _text_field(text, f"{path}:{number}").encode(errors="surrogatepass")
                yield from _decoded([text], path, number, bad)


def parquet_texts(path, bad):
    """Yields the documents of a Parquet file: its column "text"."""
    import pyarrow
    from pyarrow import parquet

    with files.open_seekable(path) as stream:
        try:
            table = parquet.ParquetFile(stream, page_checksum_verification=True)
            row = 0
            for batch in table.iter_batches(
                batch_size=256, columns=[_text_column(table, path)]
            ):
                # Cast to bytes: a string column may hold bytes that are not valid UTF-8.
                for value in batch.column(0).cast(pyarrow.binary()):
                    row += 1
                    if value.is_valid:
                        yield from _decoded([value.as_py()], path, row, bad)
        except (pyarrow.ArrowException, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise  # of the operating system
            reason = " ".join(str(error).split())
            raise InputError(f"{path} is not a Parquet file: {reason}") from None


def _text_column(table, path):
    import pyarrow

    schema = table.schema_arrow
    if "text" not in schema.names:
        raise InputError(f"{path}: expected a column 'text', found {schema.names}")
    kind = schema.field("text").type
    try:
        pyarrow.array([], kind).cast(pyarrow.binary())
    except pyarrow.ArrowNotImplementedError:
        raise InputError(
            f"{path}: the column 'text' has type {kind}, expected string"
        ) from None
    return "text"


def _lines(path):
    """Yields (number, stripped line) of a file."""
    with files.open_bytes(path) as stream:
        for number in itertools.count(1):
            line = stream.readline(LONGEST_LINE + 1)
            if not line:
                return
            if len(line) > LONGEST_LINE:
                raise InputError(
                    f"{path}:{number}: a line of more than {LONGEST_LINE:,} bytes; expected "
                    "one paragraph, sentence or JSON object per line"
                )
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            yield number, line.strip()


def _text_field(line, location):
    try:
        text = json.loads(line).get("text")
    except (ValueError, AttributeError, RecursionError):
        raise InputError(f"{location} is not a JSON object; expected {{'text': ...}}") from None
    if not isinstance(text, str):
        raise InputError(
            f"{location} has no string in its field 'text'; rename the field to 'text'"
        )
    return text


def _decoded(lines, path, first, bad):
    """Yields the text of lines of bytes; calls `bad` instead if they are not UTF-8 text."""
    content = b"\n".join(lines)
    if not _problem(content):
        yield content.decode()
        return
    number, problem = next(
        (number, problem)
        for number, line in enumerate(lines, first)
        if (problem := _problem(line))
    )
    bad(f"{path}:{number}: {problem}")


def _problem(content):
    """Says why bytes are not UTF-8 text; "" if they are."""
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    hint = UTF16 if marked or content.count(0) > len(content) / 3 else ""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return f"{error.reason} at byte {error.start}, not UTF-8{hint}"
    return f"a NUL character at byte {content.index(0)}, not text{hint}" if 0 in content else ""


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
