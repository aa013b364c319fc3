"""Embeds a text file line by line into one .npy or .parquet file, and continues after a stop.

Lines are embedded in parts, each a file in `OUTPUT.parts`, which is removed at the end.
"""

import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import files

LINES = 8192  # of a part
SUFFIXES = (".npy", ".parquet")


def check_output(path):
    """Raises InputError if the output exists or is of an unknown kind."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"--output {path}: expected a file that ends in .npy or .parquet")
    if path.exists():
        raise InputError(f"--output {path} exists already; remove it or give another file")


def embed_file(model, source, output, *, pooling="mean", lines=LINES, report=print):
    """Embeds every line of a file.

    Args:
      model: `bertgrow.inference.model.Model`.
      source: text file, UTF-8, perhaps compressed.
      output: .npy or .parquet file to write.
      pooling: as in `embed.embed`.
      lines: lines of a part.
      report: function of a line of progress.

    Returns:
      The number of lines.
    """
    source, output = Path(source), Path(output)
    parts = output.with_name(f"{output.name}.parts")
    if not source.is_file():
        raise InputError(f"--input {source}: there is no such file")
    _begin(parts, dict(
        model=model.source, step=model.step, pooling=pooling, input=str(source.resolve()),
        bytes=source.stat().st_size, lines=lines,
    ))  # fmt: skip
    counts = []
    for number, sentences in enumerate(_parts_of(source, lines)):
        part = parts / f"{number:06}.npy"
        if not part.exists():
            _save(part, model.embed(sentences, pooling=pooling))
            report(f"embedded {sum(counts) + len(sentences)} lines")
        counts.append(len(sentences))
    write = _write_npy if output.suffix == ".npy" else _write_parquet
    draft = output.with_name(f"{output.name}.tmp")
    write(draft, parts, counts, _parts_of(source, lines), model.config.width)
    os.replace(draft, output)
    shutil.rmtree(parts)
    return sum(counts)


def _begin(parts, settings):
    """Makes the folder of the parts; InputError if its parts are of other settings."""
    known = parts / "settings.json"
    if known.is_file() and json.loads(known.read_text("utf-8")) != settings:
        raise InputError(
            f"{parts} has parts of another model, input or pooling; remove it, or give the "
            "same options"
        )
    parts.mkdir(parents=True, exist_ok=True)
    known.write_text(json.dumps(settings), "utf-8")


def _parts_of(source, lines):
    """Yields lists of `lines` texts."""
    with files.damage_as_input_error(source), files.open_bytes(source) as stream:
        while part := list(itertools.islice(stream, lines)):
            try:
                yield [line.decode().rstrip("\r\n") for line in part]
            except UnicodeDecodeError as error:
                raise InputError(f"--input {source} is not UTF-8 text: {error}") from error


def _save(path, array):
    draft = path.with_suffix(".tmp")
    with open(draft, "wb") as stream:
        np.save(stream, array)
    os.replace(draft, path)


def _arrays(parts, counts):
    return (np.load(parts / f"{number:06}.npy") for number in range(len(counts)))


def _write_npy(path, parts, counts, texts, width):
    del texts
    shape = (sum(counts), width)
    with open(path, "wb") as stream:
        header = dict(descr="<f4", fortran_order=False, shape=shape)
        np.lib.format.write_array_header_1_0(stream, header)
        for array in _arrays(parts, counts):
            stream.write(array.astype("<f4").tobytes())


def _write_parquet(path, parts, counts, texts, width):
    import pyarrow as pa
    from pyarrow import parquet

    kind = pa.list_(pa.float32(), width)
    schema = pa.schema([("text", pa.string()), ("embedding", kind)])
    with parquet.ParquetWriter(path, schema) as writer:
        for sentences, array in zip(texts, _arrays(parts, counts), strict=True):
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), width)
            writer.write_table(pa.table([pa.array(sentences), vectors], schema))
