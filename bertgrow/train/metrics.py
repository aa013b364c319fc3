"""Reads and writes `metrics.jsonl`, one JSON object per line; also writes TensorBoard."""

import json
import math
import os

from bertgrow.core import errors
from bertgrow.train.checkpoints import checksums

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


class Writer:
    """Appends rows of metrics to a file, and to TensorBoard if a folder is given.

    Before saving the checkpoint of step s, write all rows up to s and call `sync`. A restart
    cuts the file at s and continues from there, so rows that were missing stay missing.
    """

    def __init__(self, path, *, tensorboard=None):
        self.path = os.fspath(path)
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
        self._board = None
        if tensorboard is not None:
            import tensorboardX  # slow to import, and used only here

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
        """Flushes all rows to disk, so that they survive a power failure."""
        os.fsync(self._file.fileno())
        if self._board is not None:
            self._board.flush()

    def close(self):
        self._file.close()
        if self._board is not None:
            self._board.close()


def read(path):
    """Reads the rows of a file; skips a last line that a killed process left incomplete."""
    return list(_rows(path))


def cut(path, step):
    """Removes all rows after `step`, and an incomplete last line, atomically.

    Used at a restart from the checkpoint of that step; training then writes the rows again.
    Does nothing if the file does not exist.
    """
    if not os.path.exists(path):
        return
    lines = [json.dumps(row) + "\n" for row in _rows(path) if row["step"] <= step]
    checksums.write_atomically(path, "".join(lines))


def differences(one, other):
    """Lists the differences between the rows of two runs as text; empty if they are equal.

    All metrics except those in `WALL_CLOCK` must be bit-identical. Rows of changed recipe
    fields contain no metrics and are ignored.
    """
    lines = []
    one, other = ([row for row in rows if row.get("split") != CHANGE] for rows in (one, other))
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


def _rows(path):
    with open(path, encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.endswith("\n"):
                return  # the process was killed while it wrote this line
            try:
                yield json.loads(line)
            except ValueError as error:
                raise errors.InputError(
                    f"{path}, line {number}, is not JSON: restore the file or remove the line"
                ) from error
