"""Charts of a report: held-out loss against cost, and training metrics."""

import itertools
import math

from bertgrow.core import units
from bertgrow.reporting import chart, summary

COST_AXES = {"flops": ("compute", "FLOP"), "seconds": ("time", "s"), "tokens": ("tokens", "")}
TRAINING = {
    "mlm_loss": "training mlm_loss (nat)",
    "loss": "training loss",
    "rate": "learning rate",
    "grad_norm": "gradient norm",
    "tokens_per_second": "tokens/s",
}


def losses(runs, arms, behind=()):
    """One chart of `mask_loss` per cost, with growth marks, plateau and equal-loss spans.

    `behind` holds (colour, run) of curves that are drawn faintly: the seeds of a mean.
    """
    shown = list(enumerate(runs))
    lines = {
        name: [*_loss_lines(behind, name, is_faint=True), *_loss_lines(shown, name)]
        for name in COST_AXES
    }
    y_range, band = _frame([p for line in lines["flops"] for p in line.points], arms)
    return [
        chart.chart(
            lines[name],
            x=COST_AXES[name],
            y="held-out mask_loss (nat)",
            y_range=y_range,
            marks=_growths(runs, name),
            band=band,
            spans=_spans(arms, name),
        )
        for name in COST_AXES
    ]


def training(runs):
    """One small chart per training metric."""
    for name, label in TRAINING.items():
        lines = [
            chart.Line(colour, chart.thin(points))
            for colour, run in enumerate(runs)
            for points in _segments(run.training, "step", name)
        ]
        # Losses are far from zero; the other axes start at zero.
        values = [y for line in lines for _, y in line.points]
        y_range = around(values) if name == "mlm_loss" and values else None
        marks = [(s["start"], i) for i, run in enumerate(runs) for s in grown(run)]
        yield chart.chart(
            lines,
            x=("step", None),
            y=label,
            y_range=y_range,
            marks=marks,
            width=290,
            height=200,
        )


def _loss_lines(runs, cost, is_faint=False):
    """Lines of each run; dashed where sequences are shorter than the final length."""
    lines = []
    for colour, run in runs:
        rows = run.evaluations
        for segment in segments(run, "length"):
            is_final = segment[0].get("length") == rows[-1].get("length")
            points = [
                (row[cost], row["mask_loss"], _tip(run, row))
                for row in segment
                if math.isfinite(row["mask_loss"])
            ]
            has_dots = len(points) <= chart.MAX_POINTS and not is_faint
            if not has_dots:
                points = chart.thin([point[:2] for point in points])
            lines.append(chart.Line(colour, points, not is_final, has_dots, is_faint))
    return lines


def segments(run, *fields):
    """Splits evaluations where one of the fields or the task of the stage changes.

    A line from the teacher's last loss to the student's first one would be misleading.
    """
    tasks = {stage["name"]: stage.get("task") for stage in run.stages}

    def kind(row):
        return [tasks.get(row.get("stage")), *(row.get(name) for name in fields)]

    return [list(rows) for _, rows in itertools.groupby(run.evaluations, key=kind)]


def _tip(run, row):
    return (
        f"{run.name}, step {row['step']}, stage {row.get('stage', '?')}: mask_loss "
        f"{row['mask_loss']:.3f} on sequences of {row.get('length', '?')}\n"
        f"{units.si(row['tokens'])} tokens, {units.si(row['flops'], 'FLOP')}, "
        f"{units.duration(row['seconds'])}"
    )


def _frame(points, arms):
    """Range of the loss axis, and the plateau (from, to, label) if it is equal in all runs.

    A fresh model starts at the logarithm of the vocabulary size. This part of a curve is far
    above the rest and is cut off, except for a run that has not yet left it.
    """
    unigrams = {round(arm.unigram, 2) for arm in arms if arm.unigram is not None}
    values = [y for _, y, *_ in points]
    if len(unigrams) != 1 or not values:
        return (around(values) if values else None), None
    (unigram,) = unigrams
    low = min(*values, unigram - summary.PLATEAU) - 0.1
    ends = [arm.mask_loss for arm in arms if math.isfinite(arm.mask_loss or math.nan)]
    high = min(max(*values, unigram), max([*ends, unigram]) + 0.5) + 0.15
    return (low, high), (unigram - summary.PLATEAU, unigram, f"unigram {unigram:.2f}")


def around(values):
    """Range of an axis: that of the values, and a margin."""
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _spans(arms, cost):
    for colour, arm in enumerate(arms):
        equal = arm.against_first
        if equal and equal.first:
            text = f"{'≥ ' if equal.is_bound else ''}{equal.speed_up[cost]:.2f}x"
            yield chart.Span(
                colour, equal.mask_loss, equal.other[cost], equal.first[cost], text
            )


def _growths(runs, cost):
    """(cost until then, colour) of every growth so far."""
    for colour, run in enumerate(runs):
        for stage in grown(run):
            costs = [r[cost] for r in run.rows if r["step"] <= stage["start"] and cost in r]
            if costs:
                yield costs[-1], colour


def grown(run):
    """Stages after the first that have begun."""
    return [stage for stage in run.stages[1:] if stage["start"] <= (run.last("step") or 0)]


def _segments(rows, x, y):
    """Points of the rows that have a metric, split where rows in between lack it."""
    groups = itertools.groupby(rows, key=lambda row: y in row)
    return [
        [(r[x], r[y]) for r in group if math.isfinite(r[y])] for has, group in groups if has
    ]
