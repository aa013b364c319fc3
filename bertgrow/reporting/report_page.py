"""The report as a self-contained HTML page."""

from bertgrow.core import units
from bertgrow.reporting import (
    certificates,
    chart,
    curves,
    elements,
    filled,
    finetuning,
    layers,
    summary,
    time_spent,
)
from bertgrow.reporting.elements import text

SHAPE = ("layers", "width", "ffn_width", "heads", "pool", "length", "batch")


def page(runs, arms, baseline=None) -> str:
    """The whole page; `arms` is `summary.summary(runs)`, `baseline` a line with its name."""
    title = f"{', '.join(run.name for run in runs)}: bertgrow report"
    parts = [*overview(arms, baseline), *finetuning.section(runs)]
    if not summary.is_fine_tuning(arms):
        parts += losses(runs, arms)
    parts += [*filled.section(runs), *stages(runs, arms)]
    parts += [*certificates.section(runs), *_layers(runs), *_training(runs, arms)]
    parts += time_spent.section(runs)
    parts += recipes(runs)
    return elements.document(title, parts)


def overview(arms, baseline=None):
    header, rows = summary.table(arms)
    between = ' <span class="quiet">·</span> '
    yield f"<h1>{between.join(text(arm.name) for arm in arms)}</h1>"
    if baseline:
        yield f'<p class="quiet">{text(baseline)}</p>'
    for who, what in summary.verdicts(arms):
        yield f'<p class="verdict">{text(who)}: <b>{text(what)}</b></p>'
    rows = [
        [elements.swatch(i) + text(name), *map(text, rest)]
        for i, (name, *rest) in enumerate(rows)
    ]
    yield elements.table(header, rows, numbers=range(1, len(header)))


def losses(runs, arms, behind=()):
    """The section of loss curves; `behind` as in `curves.losses`."""
    yield "<h2>Held-out loss</h2>"
    yield (
        '<p class="quiet">mask_loss shows every chosen position as [MASK]. In the shaded band '
        "a model predicts little better than token frequencies; runs there do not compare.</p>"
    )
    yield _legend(runs, behind)
    yield from elements.grid(curves.losses(runs, arms, behind))


def _legend(runs, behind):
    def key(drawn, words):
        return f'<span><svg viewBox="0 0 30 12">{drawn}</svg>{text(words)}</span>'

    keys = [
        key(f'<path class="line {elements.colour_class(i)}" d="M0 6H30"/>', run.name)
        for i, run in enumerate(runs)
    ]
    if behind:
        keys.append(key('<path class="line faint axis" d="M0 6H30"/>', "a single seed"))
    lengths = {row.get("length") for run in runs for row in run.evaluations}
    if len(lengths) > 1:
        drawn = '<path class="line dashed axis" d="M0 6H30"/>'
        keys.append(key(drawn, "sequences shorter than the final length: not comparable"))
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
            '<p class="quiet">Width: steps of a stage; height: FLOPs per step; area: compute. '
            "Pale: steps to come; bold: fields that a stage changed.</p>"
        )
    for i, (run, arm) in enumerate(zip(runs, arms, strict=True)):
        size = f'<span class="quiet size">{_size(run.stages)}</span>'
        yield f"<h3>{elements.swatch(i)}{text(run.name)} {size}</h3>"
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
    header = ["stage", "steps", *shape, "parameters", "FLOPs per step", "fraction of compute"]
    header = [name.replace("_", " ") for name in header]
    return elements.table(header, rows, numbers=range(1, len(header)))


def _layers(runs):
    shown = [(i, run) for i, run in enumerate(runs) if layers.figures(run)]
    if not shown:
        return
    yield "<h2>Layer by layer</h2>"
    yield layers.legend()
    for i, run in shown:
        yield f"<h3>{elements.swatch(i)}{text(run.name)}</h3>"
        yield from elements.grid(layers.charts(run))


def _training(runs, arms):
    yield "<h2>Training</h2>"
    if not summary.is_fine_tuning(arms):
        yield (
            '<p class="quiet">The usual loss falls by about half a nat merely by copying the '
            "tokens that masking leaves visible: compare by mask_loss.</p>"
        )
    yield from elements.grid(curves.training(runs), "small")


def recipes(runs):
    yield "<h2>Recipe</h2>"
    for part in ("recipe", "store", "versions"):
        tables = [dict(elements.flat(run.config.get(part) or {})) for run in runs]
        names = list(dict.fromkeys(name for table in tables for name in table))
        rows = {name: [elements.plain(table.get(name)) for table in tables] for name in names}
        different = {name: row for name, row in rows.items() if len(set(row)) > 1}
        if len(runs) > 1 and different:
            yield f"<h3>{part.capitalize()}: what differs</h3>"
            yield _settings(runs, different)
        if rows:
            yield f"<details><summary>{part}, all</summary>{_settings(runs, rows)}</details>"


def _settings(runs, rows):
    cells = [
        [f"<code>{text(name)}</code>", *map(text, values)] for name, values in rows.items()
    ]
    return elements.table(["", *(run.name for run in runs)], cells, style="settings")
