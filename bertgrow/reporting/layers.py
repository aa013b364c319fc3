"""Charts of held-out metrics per layer, over the steps."""

import math

from bertgrow.reporting import chart, curves

LABELS = {
    "activation_max": "largest output of each block",
    "score_max": "largest attention score of each block",
}
FLOAT16 = (65504.0, "float16 ends: 65,504")
LIMITS = {"activation_max": FLOAT16}  # scores can overflow below it: before they are scaled


def figures(run):
    """Names of the metrics that are lists, in the order of the metrics."""
    return list(
        dict.fromkeys(
            name
            for row in run.evaluations
            for name, value in row.items()
            if isinstance(value, list)
        )
    )


def legend():
    """Legend of the layer colours, as HTML."""
    keys = [
        f'<span><svg viewBox="0 0 30 12"><path class="line run0" style="--run: '
        f'{chart.shaded(position)}" d="M0 6H30"/></svg>{name} layer</span>'
        for position, name in ((0, "first"), (0.5, "middle"), (1, "last"))
    ]
    return f'<div class="legend">{"".join(keys)}</div>'


def charts(run):
    """One chart per metric, one line per layer, with a logarithmic axis."""
    for name in figures(run):
        lines = _lines(run, name)
        values = [y for line in lines for _, y, *_ in line.points]
        limit = LIMITS.get(name)
        yield chart.chart(
            lines,
            x=("step", None),
            y=LABELS.get(name, name.replace("_", " ")),
            y_range=value_range(values + [2 * limit[0]] if limit else values)
            if values
            else None,
            is_log=True,
            marks=[(stage["start"], 0) for stage in curves.grown(run)],
            band=(limit[0], *limit) if limit else None,
        )


def _lines(run, name):
    """Lines of the layers of each stage, without values that are zero or not finite."""
    lines = []
    for rows in curves.segments(run):
        rows = [row for row in rows if isinstance(row.get(name), list)]
        for layer in range(max((len(row[name]) for row in rows), default=0)):
            points = [
                (row["step"], row[name][layer], _tip(layer, row, name))
                for row in rows
                if layer < len(row[name]) and 0 < row[name][layer] < math.inf
            ]
            depth = max(len(rows[0][name]) - 1, 1)
            has_dots = len(points) <= chart.MAX_POINTS // (depth + 1)
            if not has_dots:
                points = chart.thin([point[:2] for point in points])
            lines.append(chart.Line(0, points, has_dots=has_dots, shade=layer / depth))
    return lines


def _tip(layer, row, name):
    return f"layer {layer + 1}, step {row['step']}: {row[name][layer]:.4g}"


def value_range(values):
    """Range of the axis: the nearest of 1, 2, 5, 10, 20 ..., with a ratio of 5 or more."""
    low = max(level for level in _levels(min(values)) if level <= min(values))
    high = min(level for level in _levels(max(values)) if level > max(values))
    return low, max(high, 5 * low)


def _levels(value):
    power = math.floor(math.log10(value))
    return [factor * 10.0**n for n in (power - 1, power, power + 1) for factor in (1, 2, 5)]
