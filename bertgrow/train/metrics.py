"""`metrics.jsonl`: one object a line, and the same figures for TensorBoard."""

import json
import os

from bertgrow.core import errors
from bertgrow.train.checkpoints import checksums

# What may differ between two equal runs.
WALL_CLOCK = (
    "seconds",
    "compile_seconds",
    "steps_per_second",
    "tokens_per_second",
    "flops_per_second",
    "utilization",
)

CHANGE = "change"  # `split` of a row that says which field of the recipe changed


class Writer:
    """Appends rows to a file, and each row's figures to TensorBoard when a folder is given.

    Before a checkpoint of step s is saved, write all rows up to s and call `sync`: after a
    restart the file is cut at s, and what was missing there would never be written.
    """

    def __init__(self, path, *, tensorboard=None):
        self.path = os.fspath(path)
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
        self._board = None
        if tensorboard is not None:
            import tensorboardX  # slow to import, and only wanted here

            self._board = tensorboardX.SummaryWriter(os.fspath(tensorboard))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def write(self, row):
        """Writes {"step": ..., "split": ..., name: number, ...} and flushes the line."""
        line = json.dumps(row, default=lambda value: value.item())
        self._file.write(line + "\n")
        self._file.flush()
        if self._board is not None and row.get("split") != CHANGE:
            row = json.loads(line)
            for name, value in _figures(row):
                self._board.add_scalar(
                    f"{row.get('split', 'train')}/{name}", value, row["step"]
                )

    def sync(self):
        """What is written survives a power cut."""
        os.fsync(self._file.fileno())
        if self._board is not None:
            self._board.flush()

    def close(self):
        self._file.close()
        if self._board is not None:
            self._board.close()


def read(path):
    """The rows of a file. A last line cut short by a kill is left out."""
    return list(_rows(path))


def cut(path, step):
    """Drops, atomically, every row after `step` and a last line cut short.

    For a restart from the checkpoint of that step; the rows are then written again. A file
    that does not exist stays so.
    """
    if not os.path.exists(path):
        return
    kept = [json.dumps(row) for row in _rows(path) if row["step"] <= step]
    checksums.write_atomically(path, "".join(line + "\n" for line in kept))


def differences(one, other):
    """What differs between the rows of two runs, in words; nothing when they are equal.

    Every figure must be equal to the bit, but those of `WALL_CLOCK`. Rows of changed fields
    hold no figures and do not count.
    """
    found = []
    one, other = ([row for row in rows if row.get("split") != CHANGE] for rows in (one, other))
    if len(one) != len(other):
        found.append(f"{len(one)} rows and {len(other)} rows")
    for a, b in zip(one, other, strict=False):
        for name in sorted((a.keys() | b.keys()) - set(WALL_CLOCK)):
            # As text, so that NaN equals NaN; repr and back loses no bit.
            left, right = (json.dumps(row.get(name), sort_keys=True) for row in (a, b))
            if left != right:
                found.append(f"step {a.get('step')} {name}: {left} and {right}")
    return found


def _figures(row):
    """(name, number) of all figures but the step; a list has a name for each of its numbers."""
    for name, value in row.items():
        if isinstance(value, list):
            yield from ((f"{name}/{place:02d}", each) for place, each in enumerate(value))
        elif isinstance(value, (int, float)) and name != "step":
            yield name, value


def _rows(path):
    with open(path, encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.endswith("\n"):
                return  # the process was killed while it wrote this one
            try:
                yield json.loads(line)
            except ValueError as error:
                raise errors.InputError(
                    f"{path}, line {number}, is not JSON: restore the file or remove the line"
                ) from error
