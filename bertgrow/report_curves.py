"""The curves of a report: held-out loss against its price, and how training went."""

import math

from bertgrow import report_chart, summary, units

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
        report_chart.chart(
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
            report_chart.Line(colour, report_chart.thin(_points(run.training, "step", name)))
            for colour, run in enumerate(runs)
        ]
        # Losses live far from zero; the rest is read as shares of its greatest value.
        values = [y for line in lines for _, y in line.points]
        y_range = _around(values) if name == "mlm_loss" and values else None
        marks = [(s["start"], i) for i, run in enumerate(runs) for s in _grown(run)]
        yield report_chart.chart(
            lines, x=("step", ""), y=label, y_range=y_range, marks=marks, width=290, height=200
        )


def _loss_lines(runs, price, is_faint=False):
    """Each run in pieces, one a row length; dashed where that is not yet the final one."""
    lines = []
    for colour, run in runs:
        rows = run.evaluations
        pieces = []
        for row in rows:
            if not pieces or pieces[-1][-1].get("length") != row.get("length"):
                pieces.append([])
            pieces[-1].append(row)
        for piece in pieces:
            is_final = piece[0].get("length") == rows[-1].get("length")
            points = [
                (row[price], row["mask_loss"], _tip(run, row))
                for row in piece
                if math.isfinite(row["mask_loss"])
            ]
            has_dots = len(points) <= report_chart.ROOM and not is_faint
            if not has_dots:
                points = report_chart.thin([point[:2] for point in points])
            lines.append(report_chart.Line(colour, points, not is_final, has_dots, is_faint))
    return lines


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
            yield report_chart.Span(
                colour, equal.mask_loss, equal.other[price], equal.first[price], text
            )


def _growths(runs, price):
    """(price paid until then, colour) of every growth that has happened."""
    for colour, run in enumerate(runs):
        for stage in _grown(run):
            paid = [r[price] for r in run.rows if r["step"] <= stage["start"] and price in r]
            if paid:
                yield paid[-1], colour


def _grown(run):
    return [stage for stage in run.stages[1:] if stage["start"] <= (run.last("step") or 0)]


def _points(rows, x, y):
    return [(r[x], r[y]) for r in rows if y in r and math.isfinite(r[y])]
