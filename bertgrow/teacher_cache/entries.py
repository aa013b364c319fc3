"""Arrays of each row of a stage on disk: found by the number of the row, read beside the row.

A stage is parted into phases; each has an entry for every row, all of one size. Entries lie
in ArrayRecord files, `part` of them in each, one record an entry, uncompressed; a record
carries a hash of its bytes, so damage is seen when it is read. A file is complete, or it is
not there. With rows that repeat (`period`), row n of a phase has the entry of row n - period.
"""

import itertools
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bertgrow.core.errors import InputError

PART_BYTES = 2**28  # about so many a file, and at least a batch
BLOCK = 2**16  # what a file is filled up to, and one more for its index
RECORD = 44  # bytes of ArrayRecord's own beside each entry
OPTIONS = "group_size:1,uncompressed"  # activations hardly compress


class Part(NamedTuple):
    """What one file holds."""

    phase: int
    number: int
    first: int  # entry of the phase
    count: int

    @property
    def name(self):
        return f"{self.phase:03d}-{self.number:05d}.array_record"


class Layout(NamedTuple):
    """Which entry each row of a stage has, and in which file it lies."""

    fields: dict  # {name: (shape, dtype)} of a row's arrays, in the order of its bytes
    phases: int
    rows: int  # of a phase
    entries: int  # of a phase that differ
    part: int  # entries a file; the last of a phase may have fewer

    @property
    def entry_bytes(self):
        return sum(map(_size, self.fields.values()))

    @property
    def bytes(self):
        """Of all files, as a disk holds them."""
        return sum(self.file_bytes(part) for part in self.parts())

    def file_bytes(self, part):
        return BLOCK * (1 + math.ceil(part.count * (self.entry_bytes + RECORD) / BLOCK))

    def parts(self):
        """Every `Part`, in the order of rows."""
        for phase in range(self.phases):
            for number, first in enumerate(range(0, self.entries, self.part)):
                yield Part(phase, number, first, min(self.part, self.entries - first))

    def first_row(self, part):
        """The number, in the stage, of the first row that has an entry in a part."""
        return part.phase * self.rows + part.first


def layout(fields, *, phases, rows, batch, period=None):
    """The `Layout` of a stage.

    Args:
      fields: {name: (shape, dtype)}, of one row.
      phases: equal parts of the stage.
      rows: of the whole stage.
      batch: rows a step; a file holds those of whole steps.
      period: rows after which they come again; None where they never do.
    """
    each = rows // phases
    size = batch * sum(map(_size, fields.values()))
    part = batch * max(1, PART_BYTES // size)
    return Layout(fields, phases, each, min(each, period or each), part)


def _size(field):
    shape, dtype = field
    return math.prod(shape) * np.dtype(dtype).itemsize


class Entries:
    """`entries(row, count)` gives the arrays of some rows of the run, {name: [count, ...]}.

    Args:
      folder: with the files.
      layout: `Layout` of the stage.
      first: the number, in the run, of the stage's first row.
    """

    def __init__(self, folder, layout, first):
        self.folder, self.layout, self.first = Path(folder), layout, first
        self._open = {}

    def __reduce__(self):  # readers stay behind
        return Entries, (self.folder, self.layout, self.first)

    def __call__(self, row, count):
        layout = self.layout
        phase, place = np.divmod(np.arange(count) + row - self.first, layout.rows)
        number, record = np.divmod(place % layout.entries, layout.part)
        found = np.empty((count, layout.entry_bytes), np.uint8)
        files = np.stack([phase, number], axis=1)
        for file in np.unique(files, axis=0):
            here = np.flatnonzero((files == file).all(axis=1))
            found[here] = self._read(Part(*file.tolist(), 0, 0).name, record[here].tolist())
        return _arrays(found, layout.fields)

    def _read(self, name, records):
        """uint8 [records, bytes]."""
        path = self.folder / name
        try:
            found = b"".join(self._reader(path).read(records))
            return np.frombuffer(found, np.uint8).reshape(len(records), -1)
        except (OSError, RuntimeError, ValueError) as error:
            why = "is damaged" if path.exists() else "is not there"
            raise InputError(
                f"{path} {why}: remove it, and the same command writes it again ({error})"
            ) from error

    def _reader(self, path):
        from array_record.python import array_record_module

        if path not in self._open:
            self._open = dict(list(self._open.items())[-1:])  # rows go on from file to file
            self._open[path] = array_record_module.ArrayRecordReader(
                str(path), "readahead_buffer_size:0,max_parallelism:0"
            )
        return self._open[path]


def _arrays(found, fields):
    """{name: array [rows, ...]} out of uint8 [rows, bytes]."""
    ends = list(itertools.accumulate(map(_size, fields.values())))
    arrays = {}
    for (name, (shape, dtype)), start, end in zip(
        fields.items(), [0, *ends], ends, strict=False
    ):
        plain = np.ascontiguousarray(found[:, start:end])
        arrays[name] = plain.view(dtype).reshape(len(found), *shape)
    return arrays


def records(arrays, fields):
    """The bytes of each row of some arrays {name: [rows, ...]}."""
    for row in zip(*(arrays[name] for name in fields), strict=True):
        yield b"".join(array.tobytes() for array in row)


def write(path, found):
    """Writes records into a file, which is complete under its name or not there."""
    from array_record.python import array_record_module

    draft = f"{path}.tmp"
    try:
        writer = array_record_module.ArrayRecordWriter(draft, OPTIONS)
        for record in found:
            writer.write(record)
        writer.close()
        handle = os.open(draft, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
        os.replace(draft, path)
    except (OSError, RuntimeError) as error:
        Path(draft).unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error}; free some disk") from error
