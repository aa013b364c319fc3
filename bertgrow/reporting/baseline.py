"""Which arm of a comparison the others are compared with, and why."""

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
    """The baseline of several arms.

    Args:
      arms: {name: stages of one of its runs}, in order.
      name: the arm that the user asked for, or None.
      order: why the arms have this order, e.g. "named first"; None where the order says
        nothing, and the arm that costs the most FLOPs a step, over all its stages, is taken.

    Returns:
      A `Baseline`; None for a single arm, which has nothing to be compared with.
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
    """The mean over all steps of a run, those still to come included."""
    num_steps = sum(stage["end"] - stage["start"] for stage in stages)
    flops = sum((stage["end"] - stage["start"]) * stage["flops_per_step"] for stage in stages)
    return flops / max(num_steps, 1)


def first(items, chosen, name):
    """`items` with the baseline first, the others in their order; `name(item)` is its arm."""
    if chosen is None:
        return items
    return sorted(items, key=lambda item: name(item) != chosen.name)


def as_json(chosen):
    return chosen and chosen._asdict()
