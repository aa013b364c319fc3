"""Reads and writes `metrics.jsonl`, one JSON object per line; also writes TensorBoard."""

import contextlib
import hashlib
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import TypedDict

from bertgrow.core import errors, json_files, system_files

# Metrics that may differ between two equal runs.
WALL_CLOCK = (
    "seconds",
    "compile_seconds",
    "steps_per_second",
    "tokens_per_second",
    "flops_per_second",
    "utilization",
)

CHANGE = "change"  # `split` of a row that records a changed field of the recipe
SAMPLES = "samples"  # `split` of a row that records filled sequences
TIME = "time"  # `split` of a row with the seconds of each phase
NOT_COMPARED = (CHANGE, TIME)  # splits of rows in which equal runs may differ

Value = float | str | list[float]  # of a field of a row


class Digest(TypedDict):
    """Size and sha256 of the bytes of a file up to a row."""

    bytes: json_files.Size
    sha256: json_files.Sha256


class Writer:
    """Appends rows of metrics to a file, and to TensorBoard if a folder is given.

    Before saving the checkpoint of step s, write all rows up to s and call `sync`. A restart
    cuts the file at s and continues from there, so rows that were missing stay missing.

    All methods raise OSError with the name of the file.
    """

    def __init__(self, path, *, tensorboard=None):
        self.path = os.fspath(path)
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
        self._size, self._sha256 = 0, hashlib.sha256()
        with open(self.path, "rb") as rows:
            while block := rows.read(1 << 20):
                self._count(block)
        self._board = None if tensorboard is None else _Board(os.fspath(tensorboard))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def write(self, row):
        """Writes {"step": ..., "split": ..., name: number, ...} and flushes the line."""
        text = json.dumps(row, default=lambda value: value.item())
        line = (text + "\n").encode()
        with system_files.named(self.path):
            try:
                system_files.write_all(self._file, line)
            except OSError:
                self._file.truncate(self._size)  # leaves no incomplete line
                raise
        self._count(line)
        if self._board is not None and row.get("split") not in (CHANGE, SAMPLES):
            self._board.write(json.loads(text))

    def sync(self):
        """Flushes all rows to disk, so that they survive a power failure."""
        with system_files.named(self.path):
            os.fsync(self._file.fileno())
        if self._board is not None:
            self._board.flush()

    def digest(self):
        """Returns the `Digest` of all rows so far, see `check_unchanged`."""
        return {"bytes": self._size, "sha256": self._sha256.hexdigest()}

    def close(self):
        self._file.close()
        if self._board is not None:
            self._board.close()

    def _count(self, data):
        self._size += len(data)
        self._sha256.update(data)


class _Board:
    """Writes rows for TensorBoard in the calling thread.

    `tensorboardX.SummaryWriter` writes in a thread of its own. When a disk is full that thread
    ends without notice, and the writer then waits for it for ever.
    """

    def __init__(self, folder):
        with _hidden("torch"):
            from tensorboardX import event_file_writer, summary  # slow to import
            from tensorboardX.proto import event_pb2

        self._folder, self._scalar, self._event = folder, summary.scalar, event_pb2.Event
        os.makedirs(folder, exist_ok=True)
        with system_files.named(folder):
            self._events = event_file_writer.EventsWriter(os.path.join(folder, "events"))

    def write(self, row):
        with system_files.named(self._folder):
            for name, value in _figures(row):
                scalar = self._scalar(f"{row.get('split', 'train')}/{name}", value)
                event = self._event(wall_time=time.time(), step=row["step"], summary=scalar)
                self._events.write_event(event)

    def flush(self):
        with system_files.named(self._folder):
            self._events.flush()

    def close(self):
        with system_files.named(self._folder):
            self._events.close()


@contextlib.contextmanager
def _hidden(package):
    """Makes imports of a package fail, unless it is imported already.

    tensorboardX imports torch wherever it is installed. That takes seconds of every start,
    and scalars do not use it.
    """
    is_imported = package in sys.modules
    if not is_imported:
        sys.modules[package] = None
    try:
        yield
    finally:
        if not is_imported:
            del sys.modules[package]


def read(path, kind=dict):
    """Reads the rows of a file; skips a last line that a killed process left incomplete.

    Args:
      path: file; a missing one has no rows.
      kind: declared type of a row, see `json_files`.

    Raises:
      InputError: a line is not JSON, or a row is of another type.
    """
    return [row for _, row in _rows(path, kind)]


def cut(path, step):
    """Removes all rows after `step`, and an incomplete last line, atomically.

    Used at a restart from the checkpoint of that step; training then writes the rows again.
    Does nothing if the file does not exist.
    """
    path = Path(path)
    if path.exists():
        lines = [line for line, row in _rows(path, _Numbered) if row["step"] <= step]
        system_files.write_atomically(path, b"".join(lines))


def check_unchanged(path, digest, step):
    """Raises InputError if the rows that a checkpoint was saved with are not in the file.

    Args:
      path: file.
      digest: `Digest` that `Writer.digest` returned at the save.
      step: int, step of the checkpoint.
    """
    try:
        with open(path, "rb") as stream:
            start = stream.read(digest["bytes"])
    except FileNotFoundError:
        state = "is missing"
    else:
        if hashlib.sha256(start).hexdigest() == digest["sha256"]:
            return
        state = "was changed"
        if len(start) < digest["bytes"]:
            state = f"has {len(start)} bytes"
    raise errors.InputError(
        f"{path} {state}, and checkpoint {step} was saved with {digest['bytes']} bytes of it: "
        "restore the file from a copy, or begin anew with --restart, which moves the old files "
        "to another folder"
    )


def differences(one, other):
    """Lists the differences between the rows of two runs as text; empty if they are equal.

    All metrics except those in `WALL_CLOCK` must be bit-identical. Rows of changed recipe
    fields and of seconds contain no other metrics and are ignored.
    """
    lines = []
    one, other = (
        [row for row in rows if row.get("split") not in NOT_COMPARED] for rows in (one, other)
    )
    if len(one) != len(other):
        lines.append(f"{len(one)} rows and {len(other)} rows")
    for a, b in zip(one, other, strict=False):
        for name in sorted((a.keys() | b.keys()) - set(WALL_CLOCK)):
            # Compare as text, so that NaN equals NaN; float repr is exact.
            left, right = (json.dumps(row.get(name), sort_keys=True) for row in (a, b))
            if left != right:
                lines.append(f"step {a.get('step')} {name}: {left} and {right}")
    return lines


def check_finite(metrics, *, step, position, rows, checkpoint=None):
    """Raises CheckFailed if the loss or the gradient norm is not finite.

    The norm is checked too, because a step with a finite loss and an infinite gradient gives
    parameters that must not be saved. Check a step before saving it.

    Args:
      metrics: metrics of that step; `loss` and `grad_norm` are checked.
      step: int, `StepInfo.step`.
      position: {"row": n, ...}, data position after the step.
      rows: int, sequences per step.
      checkpoint: int, step of the last good checkpoint; None if there is none.
    """
    for name in ("loss", "grad_norm"):
        value = float(metrics.get(name, 0.0))
        if math.isfinite(value):
            continue
        end = position.get("row")
        sequences = f", sequences {end - rows} to {end - 1}" if end is not None else ""
        last_good = "there is no good checkpoint"
        if checkpoint is not None:
            last_good = f"the last good checkpoint is {checkpoint}"
        raise errors.CheckFailed(
            f"{name} is {value} at step {step}{sequences}; {last_good}; lower the learning "
            "rate, warm up longer or look at these sequences"
        )


def _figures(row):
    """Yields (name, number) of all metrics except the step; list items are numbered."""
    for name, value in row.items():
        if isinstance(value, list):
            yield from ((f"{name}/{i:02d}", number) for i, number in enumerate(value))
        elif isinstance(value, (int, float)) and name != "step":
            yield name, value


class _Numbered(TypedDict):
    step: int


def _rows(path, kind):
    """Yields (bytes of the line, row)."""
    if not path.exists():
        return
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            return  # a process writes this line, or was killed while it did
        try:
            row = json_files.check(json.loads(line), kind)  # json: figures may be NaN
            if row.get("split") not in (CHANGE, SAMPLES):
                json_files.check(row, dict[str, Value])
        except (ValueError, RecursionError) as error:
            raise errors.InputError(
                f"{path}, line {number}, is damaged: {error}; restore the file from a copy"
            ) from None
        yield line, row
