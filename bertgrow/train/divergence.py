"""Stops a run when its loss or gradient norm is NaN or infinite."""

import math

from bertgrow.core import errors


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
        after = position.get("row")
        where = f", rows {after - rows} to {after - 1}" if after is not None else ""
        good = "there is no good checkpoint"
        if checkpoint is not None:
            good = f"the last good checkpoint is {checkpoint}"
        raise errors.CheckFailed(
            f"{name} is {value} at step {step}{where}; {good}; lower the "
            "learning rate, warm up longer or look at these rows"
        )
