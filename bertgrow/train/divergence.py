"""A run whose numbers are no longer numbers stops, and says where."""

import math

from bertgrow.core import errors


def check_finite(metrics, *, step, position, rows, checkpoint=None):
    """Raises CheckFailed when the loss or the norm of the gradients is not finite.

    The norm counts too: a step with a finite loss and an infinite gradient leaves parameters
    that must not be saved. Check a step before saving it.

    Args:
      metrics: of that step; `loss` and `grad_norm` are looked at.
      step: int, `StepInfo.step`.
      position: {"row": n, ...}, where the data stand after the step.
      rows: int, rows a step.
      checkpoint: int, the last good one; None if there is none.
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
