"""Summary of runs, and their speed-up at equal loss."""

import math
from typing import NamedTuple

from bertgrow.core import units
from bertgrow.reporting import dev_scores

PLATEAU = 0.5  # nat: a model closer to token frequencies than this has learnt little else
COSTS = ("flops", "seconds", "tokens")
HEADER = ("arm", "step", "params", "mask_loss", "unigram", "past plateau")
HEADER += ("tokens", "compute", "time")


class EqualLoss(NamedTuple):
    """Two runs at the `mask_loss` that both reach.

    `first` and `other` are the costs to reach it, {"flops", "seconds", "tokens"}; they are
    empty if `obstacle` gives a reason why there is no conclusion. With `is_bound` the other
    run was already lower at its first evaluation: its cost is at most the given one.
    `intervals` are confidence intervals of the speed-up, {cost: (low, high)}, with several
    seeds.
    """

    mask_loss: float | None
    first: dict
    other: dict
    is_bound: bool
    obstacle: str
    intervals: dict | None = None

    @property
    def speed_up(self):
        """{cost: cost of the first run / cost of the other run}."""
        return {name: self.first[name] / self.other[name] for name in self.first}


class Arm(NamedTuple):
    """One line of a summary; a value that is not recorded is None."""

    name: str
    step: int
    steps: int
    parameters: int | None
    length: int | None
    mask_loss: float | None
    unigram: float | None
    has_left_plateau: bool | None
    tokens: int | None
    flops: float | None
    seconds: float | None
    against_first: EqualLoss | None  # None for the first arm itself
    task: str | None = None  # of fine-tuning
    dev: dev_scores.Score | None = None  # of fine-tuning that was evaluated


def summary(runs):
    """One `Arm` per run, each compared with the first."""
    first, *others = runs
    return [_arm(first, None), *(_arm(run, equal_loss(first, run)) for run in others)]


def equal_loss(first, other):
    """Costs at which two runs reach the worse of their final losses.

    Losses of sequences of different lengths are not comparable. Only evaluations at the final
    length count, and this length must be the same in both runs. Curves are interpolated
    linearly between evaluations. A run has reached a loss when it does not rise above it
    again: a loss that a small model reached and that a growth then raised does not count.

    Args:
      first: `records.Run`, the baseline.
      other: `records.Run`.
    """
    curves = [first.evaluations, other.evaluations]
    if not all(curves):
        return _no_conclusion("not evaluated yet")
    finals = [rows[-1] for rows in curves]
    lengths = [row.get("length") for row in finals]
    stores = [(run.config.get("store") or {}).get("hash") for run in (first, other)]
    if lengths[0] != lengths[1]:
        return _no_conclusion(f"evaluated on sequences of {lengths[0]} and {lengths[1]} tokens")
    if None not in stores and stores[0] != stores[1]:
        return _no_conclusion("evaluated on different token stores")
    if not all(math.isfinite(row["mask_loss"]) for row in finals):
        return _no_conclusion("diverged")
    if not all(has_left_plateau(row) for row in finals):
        return _no_conclusion("plateau not left")

    level = max(row["mask_loss"] for row in finals)
    curves = [[row for row in rows if row.get("length") == lengths[0]] for rows in curves]
    (costs, is_late), (other_costs, is_bound) = (reach(rows, level) for rows in curves)
    if is_late:
        return _no_conclusion(f"{first.name} was first evaluated below {level:.3f}")
    if not all(other_costs.values()):
        return _no_conclusion(f"{other.name} was below {level:.3f} from the start")
    return EqualLoss(level, costs, other_costs, is_bound, "")


def reach(rows, level):
    """({cost: value} after which evaluations stay at `level` or below, is a bound)."""
    above = [i for i, row in enumerate(rows) if not row["mask_loss"] <= level]
    if not above:
        return {name: rows[0][name] for name in COSTS}, rows[0]["mask_loss"] < level
    before, after = rows[above[-1]], rows[above[-1] + 1]
    drop = before["mask_loss"] - after["mask_loss"]
    fraction = (before["mask_loss"] - level) / drop if math.isfinite(drop) else 1.0
    return {n: before[n] + fraction * (after[n] - before[n]) for n in COSTS}, False


def has_left_plateau(row):
    """Whether a model has learnt more than token frequencies; None if unknown."""
    if row.get("mask_loss") is None or row.get("unigram") is None:
        return None
    return row["mask_loss"] <= row["unigram"] - PLATEAU


def is_fine_tuning(arms):
    """Whether all arms are fine-tuning runs, which are compared by their dev metric."""
    return all(arm.task for arm in arms)


def table(arms):
    """The summary as strings: a header and one row per arm."""
    if is_fine_tuning(arms):
        return dev_scores.table(arms)
    past_plateau = {True: "yes", False: "no", None: "-"}
    return HEADER, [
        [
            arm.name,
            f"{arm.step}/{arm.steps}",
            units.si(arm.parameters),
            nats(arm.mask_loss),
            nats(arm.unigram),
            past_plateau[arm.has_left_plateau],
            units.si(arm.tokens),
            units.si(arm.flops, "FLOP"),
            units.duration(arm.seconds),
        ]
        for arm in arms
    ]


def verdicts(arms):
    """One (who, what) per comparison, e.g. ("grow against scratch", "no conclusion")."""
    first, *others = arms
    for arm in others:
        is_tuned = first.task or arm.task
        words = dev_scores.difference(first, arm) if is_tuned else gains(arm.against_first)
        yield f"{arm.name} against {first.name}", words


def gains(equal):
    """Formats an `EqualLoss`, e.g. "speed-up 1.52x [1.40, 1.61] in FLOPs, ..."."""
    if equal.obstacle:
        return equal.obstacle
    names = {"flops": "FLOPs", "seconds": "time", "tokens": "tokens"}
    least = "at least " if equal.is_bound else ""
    parts = []
    for cost, ratio in equal.speed_up.items():
        interval = (equal.intervals or {}).get(cost)
        text = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
        parts.append(f"{ratio:.2f}x{text} in {names[cost]}")
    return f"speed-up {least}{', '.join(parts)} at mask_loss {nats(equal.mask_loss)}"


def _arm(run, against_first):
    final = (run.evaluations or [{}])[-1]
    return Arm(
        name=run.name,
        step=run.last("step") or 0,
        steps=run.stages[-1]["end"],
        parameters=run.stages[-1].get("parameters"),
        length=final.get("length"),
        mask_loss=final.get("mask_loss"),
        unigram=final.get("unigram"),
        has_left_plateau=has_left_plateau(final),
        against_first=against_first,
        task=dev_scores.task_of(run),
        dev=dev_scores.of_runs([run]),
        **{name: run.last(name) for name in COSTS},
    )


def nats(value):
    return "-" if value is None else f"{value:.3f}"


def _no_conclusion(obstacle):
    return EqualLoss(None, {}, {}, False, f"{obstacle}, no conclusion")
