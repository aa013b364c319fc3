"""Stores arrays of each training sequence on disk, indexed by the number of the sequence.

A stage is divided into phases. Each phase has one entry of fixed size per sequence. Entries are
uncompressed records of ArrayRecord files, `part` of them per file. A record contains a hash of
its bytes, so that damage is detected when it is read. Files are written atomically: an
incomplete file never has its final name. If sequences repeat (`period`), sequence n of a phase
has the entry of sequence n - period.
"""

import itertools
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bertgrow.core.errors import InputError

PART_BYTES = 2**28  # approximate size of a file, which has at least one batch
BLOCK = 2**16  # files are padded to this size, plus one block for the index
RECORD = 44  # bytes that ArrayRecord adds to each entry
OPTIONS = "group_size:1,uncompressed"  # activations compress badly


class Part(NamedTuple):
    """Range of entries in one file."""

    phase: int
    number: int
    first: int  # first entry, counted in the phase
    count: int

    @property
    def name(self):
        return f"{self.phase:03d}-{self.number:05d}.array_record"


class Layout(NamedTuple):
    """Maps the sequences of a stage to entries and files."""

    fields: dict  # {name: (shape, dtype)} of the arrays of one sequence, in byte order
    phases: int
    rows: int  # sequences per phase
    entries: int  # distinct entries per phase
    part: int  # entries per file; the last file of a phase may have fewer

    @property
    def entry_bytes(self):
        return sum(map(_size, self.fields.values()))

    @property
    def bytes(self):
        """Size of all files on disk."""
        return sum(self.file_bytes(part) for part in self.parts())

    def file_bytes(self, part):
        return BLOCK * (1 + math.ceil(part.count * (self.entry_bytes + RECORD) / BLOCK))

    def parts(self):
        """Yields every `Part`, in the order of the sequences."""
        for phase in range(self.phases):
            for number, first in enumerate(range(0, self.entries, self.part)):
                yield Part(phase, number, first, min(self.part, self.entries - first))

    def first_row(self, part):
        """Index in the stage of the first sequence with an entry in `part`."""
        return part.phase * self.rows + part.first


def layout(fields, *, phases, rows, batch, period=None):
    """Makes the `Layout` of a stage.

    Args:
      fields: {name: (shape, dtype)} of one sequence.
      phases: number of equal phases of the stage.
      rows: number of sequences in the stage.
      batch: sequences per step; a file has the sequences of whole steps.
      period: number of sequences after which they repeat; None if they never repeat.
    """
    phase_rows = rows // phases
    size = batch * sum(map(_size, fields.values()))
    part = batch * max(1, PART_BYTES // size)
    return Layout(fields, phases, phase_rows, min(phase_rows, period or phase_rows), part)


def _size(field):
    shape, dtype = field
    return math.prod(shape) * np.dtype(dtype).itemsize


class Entries:
    """Reader: `entries(rows)` returns {name: [len(rows), ...]} of sequences of the run.

    Args:
      folder: folder of the files.
      layout: `Layout` of the stage.
      first: index in the run of the first sequence of the stage.
    """

    def __init__(self, folder, layout, first):
        self.folder, self.layout, self.first = Path(folder), layout, first
        self._open = {}

    def __reduce__(self):  # open readers cannot be pickled
        return Entries, (self.folder, self.layout, self.first)

    def __call__(self, rows):
        layout = self.layout
        phase, place = np.divmod(np.asarray(rows) - self.first, layout.rows)
        number, record = np.divmod(place % layout.entries, layout.part)
        data = np.empty((len(rows), layout.entry_bytes), np.uint8)
        files = np.stack([phase, number], axis=1)
        for file in np.unique(files, axis=0):
            of_file = np.flatnonzero((files == file).all(axis=1))
            name = Part(*file.tolist(), 0, 0).name
            data[of_file] = self._read(name, record[of_file].tolist())
        return _arrays(data, layout.fields)

    def _read(self, name, records):
        """Reads records as uint8 [records, bytes]."""
        path = self.folder / name
        try:
            data = b"".join(self._reader(path).read(records))
            return np.frombuffer(data, np.uint8).reshape(len(records), -1)
        except (OSError, RuntimeError, ValueError) as error:
            state = "is damaged" if path.exists() else "is missing"
            raise InputError(
                f"{path} {state}: remove it, and the same command writes it again ({error})"
            ) from error

    def _reader(self, path):
        from array_record.python import array_record_module

        if path not in self._open:
            self._open = dict(list(self._open.items())[-1:])  # files are read in order
            self._open[path] = array_record_module.ArrayRecordReader(
                str(path), "readahead_buffer_size:0,max_parallelism:0"
            )
        return self._open[path]


def _arrays(data, fields):
    """Splits uint8 [rows, bytes] into {name: array [rows, ...]}."""
    ends = list(itertools.accumulate(map(_size, fields.values())))
    arrays = {}
    for (name, (shape, dtype)), start, end in zip(
        fields.items(), [0, *ends], ends, strict=False
    ):
        plain = np.ascontiguousarray(data[:, start:end])
        arrays[name] = plain.view(dtype).reshape(len(data), *shape)
    return arrays


def records(arrays, fields):
    """Yields the bytes of each sequence of the arrays {name: [rows, ...]}."""
    for row in zip(*(arrays[name] for name in fields), strict=True):
        yield b"".join(array.tobytes() for array in row)


def write(path, records):
    """Writes records into a file atomically: first a draft, then a rename."""
    from array_record.python import array_record_module

    draft = f"{path}.tmp"
    try:
        writer = array_record_module.ArrayRecordWriter(draft, OPTIONS)
        for record in records:
            writer.write(record)
        writer.close()
        handle = os.open(draft, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
        os.replace(draft, path)
    except (OSError, RuntimeError) as error:
        Path(draft).unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error}; free some disk") from error
