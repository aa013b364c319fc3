"""Selects the baseline of a comparison."""

import difflib
from typing import NamedTuple

from bertgrow.core import errors, units

OPTION = dict(
    metavar="NAME",
    help="the arm that the others are compared with; default: the one named first",
)


class Baseline(NamedTuple):
    name: str
    reason: str  # e.g. "named first"

    def __str__(self):
        return f"baseline: {self.name} ({self.reason})"


def check(name, names):
    """Raises InputError unless `name` is one of `names`; None is allowed."""
    if name is None or name in names:
        return
    close = difflib.get_close_matches(name, names, n=2)
    nearest = f"; did you mean {' or '.join(close)}?" if close else ""
    raise errors.InputError(
        f"--baseline {name!r} is no arm; expected one of {', '.join(names)}{nearest}"
    )


def choose(arms, name, order):
    """Selects the baseline of several arms.

    Args:
      arms: {name: stages of one of its runs}, in order.
      name: the arm that the user asked for, or None.
      order: the reason for the order of the arms, e.g. "named first"; then the first arm is
        the baseline. None: the order has no meaning, and the baseline is the arm with the most
        FLOPs per step, over all its stages.

    Returns:
      A `Baseline`; None for a single arm.
    """
    check(name, list(arms))
    if len(arms) < 2:
        return None
    if name is not None:
        return Baseline(name, "--baseline")
    if order:
        return Baseline(next(iter(arms)), order)
    costs = {arm: flops_per_step(stages) for arm, stages in arms.items()}
    costliest = max(costs, key=costs.get)
    return Baseline(costliest, f"costs most a step: {units.si(costs[costliest], 'FLOP')}")


def flops_per_step(stages):
    """The mean over all steps of a run, future steps included."""
    num_steps = sum(stage["end"] - stage["start"] for stage in stages)
    flops = sum((stage["end"] - stage["start"]) * stage["flops_per_step"] for stage in stages)
    return flops / max(num_steps, 1)


def first(items, chosen, name):
    """Moves the baseline to the front of `items`; `name(item)` is the arm of an item."""
    if chosen is None:
        return items
    return sorted(items, key=lambda item: name(item) != chosen.name)


def as_json(chosen):
    return chosen and chosen._asdict()
