"""Comparison of arms with several seeds: mean curves and bootstrap intervals."""

import math
import re
from typing import NamedTuple

import numpy as np

from bertgrow.core import errors
from bertgrow.core.differences import differences
from bertgrow.reporting import dev_scores, summary
from bertgrow.run import workdir
from bertgrow.run.records import Run

RESAMPLES = 2000
CONFIDENCE = 0.95
AVERAGED = ("tokens", "flops", "seconds", "mask_loss", "mlm_loss", "unigram")
MODEL = ("layers", "width", "ffn_width", "heads", "pool", "parameters")
HELD_OUT = ("data.rows", "eval.rows", "masking")


class Group(NamedTuple):
    """The runs of one arm, by ascending seed."""

    name: str
    runs: list

    @property
    def seeds(self):
        return [seed(run) for run in self.runs]


class Final(NamedTuple):
    """The final held-out loss of an arm, and its difference from the first arm's.

    `difference` is negative if this arm is better; None if the two are not comparable, for
    the reasons in `reasons`. `interval` is None with a single seed.
    """

    losses: list  # one a seed
    difference: float | None
    interval: tuple | None
    reasons: list


class Result(NamedTuple):
    """Result of an arm; `arm` and `mean` belong to the mean curve over its seeds."""

    group: Group
    arm: summary.Arm
    mean: Run
    pairs: dict  # {seed: EqualLoss of this seed alone}, for seeds of both arms
    is_paired: bool  # resampled together with the first arm, seed by seed
    inconclusive: float  # fraction of resamples that allow no conclusion
    final: Final


def compare(groups):
    """Compares every arm with the first: one `Result` per arm."""
    means = [mean(group.runs, group.name) for group in groups]
    results = []
    for group, arm, curve in zip(groups, summary.summary(means), means, strict=True):
        arm = arm._replace(dev=dev_scores.of_runs(group.runs))
        if not results:
            final = Final(_finals(group), None, None, [])
            results.append(Result(group, arm, curve, {}, False, 0.0, final))
        else:
            results.append(_against(groups[0], means[0], group, arm, curve))
    return results


def mean(runs, name):
    """One `Run` with evaluations averaged over seeds, for the steps that all have reached."""
    tables = [
        {(row["step"], row.get("stage")): row for row in r.evaluations or dev_scores.rows_of(r)}
        for r in runs
    ]
    averaged, rows = (*AVERAGED, dev_scores.metric_of(runs[0])), []
    for at, first in tables[0].items():
        if not all(at in table for table in tables):
            break
        same = [table[at] for table in tables]
        fields = [field for field in averaged if all(field in row for row in same)]
        means = {field: math.fsum(row[field] for row in same) / len(same) for field in fields}
        rows.append(first | means)
    return runs[0]._replace(name=name, rows=rows)


def group(runs):
    """Groups runs into arms: `NAME-seedN` is a seed of NAME, any other name its own arm.

    So is `NAME,seed=N`, a run of a grid of fine-tuning.
    """
    groups = {}
    for run in runs:
        groups.setdefault(re.sub(r"(-seed|,seed=)\d+$", "", run.name), []).append(run)
    arms = [Group(name, sorted(members, key=seed)) for name, members in groups.items()]
    for arm in arms:
        _check(arm)
    return arms


def seed(run):
    return run.config.get("recipe", {}).get("seed", 0)


def incomparable(first, other):
    """Reasons why the final losses of two arms are not comparable; empty if they are."""
    for each in (first, other):
        for run in each.runs:
            if not run.is_finished:
                at, end = run.last("step") or 0, run.stages[-1]["end"]
                yield f"{run.name} is at step {at} of {end}"
    one, two = (each.runs[0] for each in (first, other))
    stores = [(run.config.get("store") or {}).get("hash") for run in (one, two)]
    if stores[0] != stores[1]:
        yield "the token stores differ"
    ends = [run.stages[-1] for run in (one, two)]
    for name in ("length", *MODEL):
        values = [end.get(name) for end in ends]
        if values[0] != values[1]:
            yield f"the final {name} differs ({values[0]} and {values[1]})"
    recipes = (run.config.get("recipe", {}) for run in (one, two))
    for name, before, after in differences(*recipes):
        if name.startswith(HELD_OUT):
            yield f"evaluated with another config.{name} ({before} and {after})"


def _check(group):
    first = group.runs[0]
    for previous, run in zip(group.runs, group.runs[1:], strict=False):
        if seed(previous) == seed(run):
            raise errors.InputError(
                f"arm {group.name}: {previous.folder} and {run.folder} both have "
                f"config.seed={seed(run)}; give one of them"
            )
        recipes = (each.config.get("recipe", {}) for each in (first, run))
        for name, before, after in differences(*recipes):
            is_alike = workdir.is_free(name) and not name.startswith(HELD_OUT)
            if name != "seed" and not is_alike:
                raise errors.InputError(
                    f"arm {group.name}: {first.folder} has config.{name}={before!r}, "
                    f"{run.folder} {after!r}; only the seed may differ within an arm"
                )


def _against(first, first_mean, other, arm, curve):
    is_paired = first.seeds == other.seeds
    resamples = list(_resample(first, other, is_paired))
    concluded = [equal for equal, _ in resamples if not equal.obstacle]
    reasons = list(incomparable(first, other))
    if False in (arm.has_left_plateau, _has_left_plateau(first_mean)):
        reasons.append("plateau not left")
    losses = [_last_loss(each) for each in (first_mean, curve)]
    final = Final(_finals(other), None, None, reasons)
    if not reasons and None not in losses:
        drawn = [difference for _, difference in resamples]
        final = final._replace(difference=losses[1] - losses[0], interval=interval(drawn))
    equal = arm.against_first
    if not equal.obstacle and concluded:
        intervals = {
            cost: interval([each.speed_up[cost] for each in concluded])
            for cost in equal.speed_up
        }
        equal = equal._replace(
            intervals=intervals,
            is_bound=equal.is_bound or any(each.is_bound for each in concluded),
        )
    runs_of_other = dict(zip(other.seeds, other.runs, strict=True))
    pairs = {
        number: summary.equal_loss(run, runs_of_other[number])
        for number, run in zip(first.seeds, first.runs, strict=True)
        if number in runs_of_other
    }
    inconclusive = 1 - len(concluded) / len(resamples) if resamples else 0.0
    arm = arm._replace(against_first=equal)
    return Result(other, arm, curve, pairs, is_paired, inconclusive, final)


def interval(values):
    """(low, high) of the middle 95 % of resampled values; None if empty or not finite."""
    if not values or not np.all(np.isfinite(values)):
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


def _resample(first, other, is_paired):
    """Bootstrap over seeds (Efron, 1979): (EqualLoss, difference of final losses) per draw.

    Draws as many seeds as there are, with replacement. Arms with the same seeds get the same
    draws, because their data order and masks are the same. A single seed gives no estimate of
    the variance, so nothing is drawn.
    """
    counts = [len(each.runs) for each in (first, other)]
    if min(counts) < 2:
        return
    random = np.random.default_rng(0)
    results = {}
    for _ in range(RESAMPLES):
        drawn = [tuple(sorted(random.integers(count, size=count).tolist())) for count in counts]
        if is_paired:
            drawn[1] = drawn[0]
        key = tuple(drawn)
        if key not in results:
            curves = [
                mean([each.runs[i] for i in picks], each.name)
                for each, picks in zip((first, other), drawn, strict=True)
            ]
            losses = [_last_loss(curve) for curve in curves]
            difference = math.nan if None in losses else losses[1] - losses[0]
            results[key] = summary.equal_loss(*curves), difference
        yield results[key]


def _finals(group):
    return [_last_loss(run) for run in group.runs]


def _last_loss(run):
    return (run.evaluations or [{}])[-1].get("mask_loss")


def _has_left_plateau(run):
    return summary.has_left_plateau((run.evaluations or [{}])[-1])
