"""The report as a self-contained HTML page."""

import html
import json
from importlib import resources

from bertgrow.core import units
from bertgrow.reporting import chart, curves, layers, summary

SHAPE = ("layers", "width", "ffn_width", "heads", "pool", "length", "batch")
OPERATOR = {  # field of a certificate: column heading
    "operator": "operator",
    "dimension": "dimension",
    "changed": "change",
    "claim": "claim",
    "holds": "holds",
    "max_logit_change": "max |Δ logit|",
    "logit_scale": "max |logit|",
    "loss_change": "Δ loss",
    "parameters_after": "parameters",
    "moments": "moments",
}
STYLES = ("chart.css", "page.css")
MEASURED = ("max_logit_change", "logit_scale", "loss_change", "parameters_after")


def page(runs, arms, baseline=None) -> str:
    """The whole page; `arms` is `summary.summary(runs)`, `baseline` a line with its name."""
    title = f"{', '.join(run.name for run in runs)}: bertgrow report"
    parts = [*overview(arms, baseline), *losses(runs, arms), *stages(runs, arms)]
    parts += [*growth(runs), *_layers(runs), *_training(runs), *recipes(runs)]
    return document(title, parts)


def document(title, parts) -> str:
    """An HTML page with inline styles; `parts` are HTML."""
    package = resources.files("bertgrow.reporting")
    styles = [package.joinpath(name).read_text("utf-8") for name in STYLES]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{text(title)}</title>\n<style>\n{''.join(styles)}</style></head>\n<body>",
            *parts,
            "</body></html>\n",
        ]
    )


def overview(arms, baseline=None):
    header, rows = summary.table(arms)
    between = ' <span class="quiet">·</span> '
    yield f"<h1>{between.join(text(arm.name) for arm in arms)}</h1>"
    if baseline:
        yield f'<p class="quiet">{text(baseline)}</p>'
    for who, what in summary.verdicts(arms):
        yield f'<p class="verdict">{text(who)}: <b>{text(what)}</b></p>'
    rows = [[swatch(i) + text(name), *map(text, rest)] for i, (name, *rest) in enumerate(rows)]
    yield table(header, rows, numbers=range(1, len(header)))


def losses(runs, arms, behind=()):
    """The section of loss curves; `behind` as in `curves.losses`."""
    yield "<h2>Held-out loss</h2>"
    yield (
        '<p class="quiet">mask_loss shows every chosen position as [MASK]. In the shaded band '
        "a model knows little more than how often each piece occurs; comparing runs there says "
        "nothing.</p>"
    )
    yield _legend(runs, behind)
    yield from _grid(curves.losses(runs, arms, behind))


def _legend(runs, behind):
    def key(drawn, words):
        return f'<span><svg viewBox="0 0 30 12">{drawn}</svg>{text(words)}</span>'

    keys = [
        key(f'<path class="line {_colour(i)}" d="M0 6H30"/>', run.name)
        for i, run in enumerate(runs)
    ]
    if behind:
        keys.append(key('<path class="line faint axis" d="M0 6H30"/>', "a single seed"))
    lengths = {row.get("length") for run in runs for row in run.evaluations}
    if len(lengths) > 1:
        drawn = '<path class="line dashed axis" d="M0 6H30"/>'
        keys.append(key(drawn, "rows not yet of the final length: not comparable"))
    if any(len(run.stages) > 1 for run in runs):
        keys.append(key('<path class="mark axis" d="M15 0V12"/>', "growth, or the next task"))
    return f'<div class="legend">{"".join(keys)}</div>'


def stages(runs, arms):
    num_steps = max(arm.steps for arm in arms)
    flops = max(stage["flops_per_step"] for run in runs for stage in run.stages)
    # Without a second stage in any run, every picture would be one plain block.
    has_pictures = any(len(run.stages) > 1 for run in runs)
    yield "<h2>Stages</h2>"
    if has_pictures:
        yield (
            '<p class="quiet">As wide as a stage has steps, as high as one step costs: the '
            "area is compute. Pale is still to come; bold is what a stage changed.</p>"
        )
    for i, (run, arm) in enumerate(zip(runs, arms, strict=True)):
        size = f'<span class="quiet size">{_size(run.stages)}</span>'
        yield f"<h3>{swatch(i)}{text(run.name)} {size}</h3>"
        if has_pictures:
            yield chart.skyline(run.stages, i, step=arm.step, num_steps=num_steps, flops=flops)
        yield _stage_table(run.stages)


def _size(stages):
    """`3 stages, 1,800 steps, 16.5 TFLOP`: the whole run, future steps included."""
    number = "1 stage" if len(stages) == 1 else f"{len(stages)} stages"
    compute = sum((s["end"] - s["start"]) * s["flops_per_step"] for s in stages)
    return f"{number}, {stages[-1]['end']:,} steps, {units.si(compute, 'FLOP')}"


def _stage_table(stages):
    shape = [name for name in SHAPE if any(name in stage for stage in stages)]
    if len({stage.get("task") for stage in stages}) > 1:
        shape.insert(0, "task")
    costs = [(s["end"] - s["start"]) * s["flops_per_step"] for s in stages]
    rows = []
    for stage, before, cost in zip(stages, [stages[0], *stages], costs, strict=False):
        changed = [
            f'<span class="changed">{text(stage.get(name, ""))}</span>'
            if stage.get(name) != before.get(name)
            else text(stage.get(name, ""))
            for name in shape
        ]
        rows.append(
            [
                text(stage["name"]),
                f"{stage['start']} to {stage['end']}",
                *changed,
                units.si(stage.get("parameters")),
                units.si(stage["flops_per_step"], "FLOP"),
                f"{cost / (sum(costs) or 1):.0%}",
            ]
        )
    header = ["stage", "steps", *shape, "parameters", "a step costs", "share of compute"]
    header = [name.replace("_", " ") for name in header]
    return table(header, rows, numbers=range(1, len(header)))


def growth(runs):
    if not any(run.certificates for run in runs):
        return
    yield "<h2>Growth certificates</h2>"
    yield (
        '<p class="quiet">What each operator changed, in order, and what that did to the model '
        "on a fixed held-out batch in float32, against what it claims.</p>"
    )
    for i, run in enumerate(runs):
        for certificate in run.certificates:
            yield from _certificate(certificate, swatch(i) + text(run.name))


def _certificate(certificate, run):
    at = f" at step {certificate['step']}" if "step" in certificate else ""
    yield f"<h3>{run} {text(certificate.get('transition', ''))}{at}</h3>"
    operators = certificate.get("rows") or []
    words = ", ".join(_changes(operators))
    yield f"<p>{text('no weight changes' if certificate.get('rows') == [] else words)}</p>"
    shown = [name for name in OPERATOR if any(name in row for row in operators)]
    numbers = [i for i, name in enumerate(shown) if name in MEASURED]
    cells = [[_cell(name, row.get(name)) for name in shown] for row in operators]
    yield table([OPERATOR[name] for name in shown], cells, numbers)
    rest = {k: v for k, v in certificate.items() if k not in ("transition", "step", "rows")}
    for name in [name for name, value in rest.items() if _is_table(value)]:
        yield from _listed(name, rest.pop(name))
    rest["operators"] = [
        {name: value for name, value in row.items() if name not in shown} for row in operators
    ]
    details = [[f"<code>{text(k)}</code>", _cell(k, v)] for k, v in _flat(rest)]
    yield f"<details><summary>more</summary>{table(['', ''], details)}</details>"


def _is_table(value):
    return isinstance(value, list) and value and all(isinstance(row, dict) for row in value)


def _listed(name, rows):
    """A list of records as a table, e.g. the leaves of a copy."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_cell(column, row.get(column)) for column in columns] for row in rows]
    title = f"{text(name)}: {len(rows)}"
    yield f"<details><summary>{title}</summary>{table(columns, cells)}</details>"


def _changes(operators):
    """Changes from before the first operator to after the last, if they are recorded."""
    for name in ("loss", "parameters"):
        before, after = f"{name}_before", f"{name}_after"
        if operators and before in operators[0] and after in operators[-1]:
            ends = operators[0][before], operators[-1][after]
            yield f"{name} {' → '.join(_amount(name, value) for value in ends)}"


def _amount(name, value):
    """Formats a value; the end of its name gives the unit."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if name.endswith("bytes"):
            return units.si(value, "B")
        if name.endswith("seconds"):
            return units.duration(value)
        if "parameters" in name:
            return units.si(value)
    return _plain(value)


def _cell(name, value):
    if name == "holds" and value is False:
        return '<span class="bad">no</span>'
    return text(_amount(name, value))


def _layers(runs):
    shown = [(i, run) for i, run in enumerate(runs) if layers.figures(run)]
    if not shown:
        return
    yield "<h2>Layer by layer</h2>"
    yield layers.legend()
    for i, run in shown:
        yield f"<h3>{swatch(i)}{text(run.name)}</h3>"
        yield from _grid(layers.charts(run))


def _training(runs):
    yield "<h2>Training</h2>"
    yield (
        '<p class="quiet">The usual loss falls by about half a nat merely by copying the '
        "tokens that masking left visible: judge by mask_loss.</p>"
    )
    yield from _grid(curves.training(runs), "small")


def recipes(runs):
    yield "<h2>Recipe</h2>"
    for part in ("recipe", "store", "versions"):
        tables = [dict(_flat(run.config.get(part) or {})) for run in runs]
        names = list(dict.fromkeys(name for each in tables for name in each))
        rows = {name: [_plain(each.get(name)) for each in tables] for name in names}
        different = {name: row for name, row in rows.items() if len(set(row)) > 1}
        if len(runs) > 1 and different:
            yield f"<h3>{part.capitalize()}: what differs</h3>"
            yield _settings(runs, different)
        if rows:
            yield f"<details><summary>{part}, whole</summary>{_settings(runs, rows)}</details>"


def _settings(runs, rows):
    cells = [
        [f"<code>{text(name)}</code>", *map(text, values)] for name, values in rows.items()
    ]
    return table(["", *(run.name for run in runs)], cells, style="settings")


def _flat(tree, path=""):
    """("optimizer.peak_lr", 1e-4) for every leaf of nested dicts and lists."""
    items = enumerate(tree) if isinstance(tree, list) else tree.items()
    for name, value in items:
        here = f"{path}[{name}]" if isinstance(tree, list) else f"{path}.{name}".lstrip(".")
        if isinstance(value, dict | list) and value:
            yield from _flat(value, here)
        else:
            yield here, value


def table(header, rows, numbers=(), style=""):
    """`rows` are HTML, `header` is plain text; columns in `numbers` are right-aligned."""

    def line(tag, cells):
        marks = [' class="number"' if i in numbers else "" for i in range(len(cells))]
        inner = (f"<{tag}{m}>{cell}</{tag}>" for m, cell in zip(marks, cells, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    lines = [line("th", [text(name) for name in header]), *(line("td", row) for row in rows)]
    return (
        f'<div class="scroll"><table class="{style}">{"".join(lines)}</table></div>'
        if rows
        else ""
    )


def _grid(charts, size=""):
    yield f'<div class="charts {size}">'
    yield from (f"<div>{chart}</div>" for chart in charts)
    yield "</div>"


def swatch(colour):
    return f'<span class="swatch {_colour(colour)}"></span>'


def _colour(number):
    return f"run{number % chart.NUM_COLOURS}"


def _plain(value):
    """Formats any JSON value as short text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict | list):
        return json.dumps(value)
    return "-" if value is None else str(value)


def text(value):
    return html.escape(str(value))
