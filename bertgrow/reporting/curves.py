"""The curves of a report: held-out loss against its price, and how training went."""

import itertools
import math

from bertgrow.core import units
from bertgrow.reporting import chart, summary

PRICES = {"flops": ("compute", "FLOP"), "seconds": ("time", "s"), "tokens": ("tokens", "")}
TRAINING = {
    "mlm_loss": "training mlm_loss (nat)",
    "rate": "learning rate",
    "grad_norm": "gradient norm",
    "tokens_per_second": "tokens/s",
}


def losses(runs, arms, behind=()):
    """One chart a price, of `mask_loss` with the growths, the plateau and equal losses.

    `behind` are (colour, run) of further curves, drawn faintly: the seeds of a mean.
    """
    shown = list(enumerate(runs))
    lines = {
        name: [*_loss_lines(behind, name, is_faint=True), *_loss_lines(shown, name)]
        for name in PRICES
    }
    y_range, band = _frame([p for line in lines["flops"] for p in line.points], arms)
    return [
        chart.chart(
            lines[name],
            x=PRICES[name],
            y="held-out mask_loss (nat)",
            y_range=y_range,
            marks=_growths(runs, name),
            band=band,
            spans=_spans(arms, name),
        )
        for name in PRICES
    ]


def training(runs):
    """One small chart a figure of the training steps."""
    for name, label in TRAINING.items():
        lines = [
            chart.Line(colour, chart.thin(points))
            for colour, run in enumerate(runs)
            for points in _pieces(run.training, "step", name)
        ]
        # Losses live far from zero; the rest is read as shares of its greatest value.
        values = [y for line in lines for _, y in line.points]
        y_range = _around(values) if name == "mlm_loss" and values else None
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


def _loss_lines(runs, price, is_faint=False):
    """Each run in pieces; dashed where rows are not yet of the final length."""
    lines = []
    for colour, run in runs:
        rows = run.evaluations
        for piece in pieces(run, "length"):
            is_final = piece[0].get("length") == rows[-1].get("length")
            points = [
                (row[price], row["mask_loss"], _tip(run, row))
                for row in piece
                if math.isfinite(row["mask_loss"])
            ]
            has_dots = len(points) <= chart.ROOM and not is_faint
            if not has_dots:
                points = chart.thin([point[:2] for point in points])
            lines.append(chart.Line(colour, points, not is_final, has_dots, is_faint))
    return lines


def pieces(run, *fields):
    """Evaluations in pieces, parted where a field or what the stage learns changes.

    A student does not go on from its teacher's loss: a line between them would say so.
    """
    tasks = {stage["name"]: stage.get("task") for stage in run.stages}

    def kind(row):
        return [tasks.get(row.get("stage")), *(row.get(name) for name in fields)]

    return [list(rows) for _, rows in itertools.groupby(run.evaluations, key=kind)]


def _tip(run, row):
    return (
        f"{run.name}, step {row['step']}, stage {row.get('stage', '?')}: mask_loss "
        f"{row['mask_loss']:.3f} on rows of {row.get('length', '?')}\n"
        f"{units.si(row['tokens'])} tokens, {units.si(row['flops'], 'FLOP')}, "
        f"{units.duration(row['seconds'])}"
    )


def _frame(points, arms):
    """The range of losses shown and the plateau, (from, to, words), where all runs agree on it.

    A fresh model starts at the logarithm of the vocabulary: far above, of no interest, cut;
    but not where a run has come no further.
    """
    unigrams = {round(arm.unigram, 2) for arm in arms if arm.unigram is not None}
    values = [y for _, y, *_ in points]
    if len(unigrams) != 1 or not values:
        return (_around(values) if values else None), None
    (unigram,) = unigrams
    low = min(*values, unigram - summary.PLATEAU) - 0.1
    ends = [arm.mask_loss for arm in arms if math.isfinite(arm.mask_loss or math.nan)]
    high = min(max(*values, unigram), max([*ends, unigram]) + 0.5) + 0.15
    return (low, high), (unigram - summary.PLATEAU, unigram, f"unigram {unigram:.2f}")


def _around(values):
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def _spans(arms, price):
    for colour, arm in enumerate(arms):
        equal = arm.against_first
        if equal and equal.first:
            text = f"{'≥ ' if equal.is_bound else ''}{equal.speed_up[price]:.2f}x"
            yield chart.Span(
                colour, equal.mask_loss, equal.other[price], equal.first[price], text
            )


def _growths(runs, price):
    """(price paid until then, colour) of every growth that has happened."""
    for colour, run in enumerate(runs):
        for stage in grown(run):
            paid = [r[price] for r in run.rows if r["step"] <= stage["start"] and price in r]
            if paid:
                yield paid[-1], colour


def grown(run):
    """Stages that began after the first, as far as the run has come."""
    return [stage for stage in run.stages[1:] if stage["start"] <= (run.last("step") or 0)]


def _pieces(rows, x, y):
    """Points of the rows that have a figure, parted where rows in between lack it."""
    groups = itertools.groupby(rows, key=lambda row: y in row)
    return [
        [(r[x], r[y]) for r in group if math.isfinite(r[y])] for has, group in groups if has
    ]
