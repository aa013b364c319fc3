"""Comparison of runs as text, as an SVG picture and as a self-contained HTML page."""

import html
from importlib import resources

from bertgrow.reporting import (
    certificates,
    chart,
    curves,
    elements,
    finetuning,
    report_page,
    seeds,
    summary,
)

PICTURE = ("flops", "seconds")  # the costs that compare.svg shows
WIDTH, HEIGHT, GAP = 380, 265, 24  # of a chart, in units; a letter is 12 units high


def notes(results):
    """Lines of text: whether the final losses are comparable, and how intervals are made.

    Nothing for fine-tuning runs, whose scores are in the table.
    """
    if summary.is_fine_tuning([result.arm for result in results]):
        return
    first, *others = results
    yield f"{first.arm.name}: final mask_loss {_spread(first.final.losses)}"
    for result in others:
        yield f"{result.arm.name}: final mask_loss {_final(first.arm.name, result)}"
    yield from _interval_notes(first, others)


def page(results, baseline=None) -> str:
    """compare.html; `results` is `seeds.compare(...)`, `baseline` a line with its name."""
    means, arms = [r.mean for r in results], [r.arm for r in results]
    ones = [r.group.runs[0]._replace(name=r.group.name) for r in results]
    title = f"{', '.join(arm.name for arm in arms)}: bertgrow compare"
    parts = [*report_page.overview(arms, baseline)]
    parts += [f'<p class="quiet wide">{elements.text(line)}</p>' for line in notes(results)]
    if summary.is_fine_tuning(arms):
        firsts = [result.group.runs[0] for result in results]
        parts += [*finetuning.section(firsts), *finetuning.seeds(results)]
    else:
        parts += [*report_page.losses(means, arms, _seeds(results)), *_by_seed(results)]
    parts += [*report_page.stages(means, arms), *certificates.section(ones)]
    parts += report_page.recipes(ones)
    return elements.document(title, parts)


def picture(results) -> str:
    """compare.svg: the held-out loss against compute and time."""
    means, arms = [r.mean for r in results], [r.arm for r in results]
    if summary.is_fine_tuning(arms):
        firsts = [result.group.runs[0] for result in results]
        charts = {cost: finetuning.picture(firsts, cost) for cost in PICTURE}
    else:
        charts = curves.losses(means, arms, _seeds(results))
        charts = dict(zip(curves.COST_AXES, charts, strict=True))
    top, width = 34, len(PICTURE) * (WIDTH + GAP) + GAP
    parts = [_keys(arms, width)]
    for i, cost in enumerate(PICTURE):
        x, chart = GAP + i * (WIDTH + GAP), charts[cost]
        if chart.startswith("<svg"):
            parts.append(chart.replace("<svg", f'<svg x="{x}" y="{top}"', 1))
        else:
            parts.append(f'<text x="{x}" y="{top + 20}">nothing to draw yet</text>')
    style = resources.files("bertgrow.reporting").joinpath("chart.css").read_text("utf-8")
    height = top + HEIGHT + 10
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" '
            'font-family="system-ui, Segoe UI, Roboto, DejaVu Sans, sans-serif">',
            f"<style>\n{style}</style>",
            f'<rect width="{width}" height="{height}" style="fill: var(--paper)"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _seeds(results):
    """(colour, run) of every seed, for arms with several seeds."""
    return [
        (colour, run)
        for colour, result in enumerate(results)
        if len(result.group.runs) > 1
        for run in result.group.runs
    ]


def _keys(arms, width):
    """Legend: the names of the arms in one line, each with its colour."""
    parts, step = [], (width - 2 * GAP) / len(arms)
    for i, arm in enumerate(arms):
        x, colour = GAP + i * step, f"run{i % chart.NUM_COLOURS}"
        parts.append(f'<path class="line {colour}" d="M{x:.0f} 18h26"/>')
        name = html.escape(arm.name)
        parts.append(f'<text class="label" x="{x + 32:.0f}" y="22">{name}</text>')
    return "\n".join(parts)


def _by_seed(results):
    header = ["arm", "seed", "step", "mask_loss", "against the baseline with the same seed"]
    rows = []
    for i, result in enumerate(results):
        for run, loss in zip(result.group.runs, result.final.losses, strict=True):
            equal = result.pairs.get(seeds.seed(run))
            cells = [seeds.seed(run), f"{run.last('step') or 0}/{run.stages[-1]['end']}"]
            cells += [summary.nats(loss), summary.gains(equal) if equal else "-"]
            name = elements.swatch(i) + elements.text(result.arm.name)
            rows.append([name, *map(elements.text, cells)])
    yield "<h2>Seeds</h2>"
    yield elements.table(header, rows, numbers=(1, 2, 3))


def _spread(losses):
    """`3.120 (3 seeds, 3.050 to 3.190)`."""
    losses = [loss for loss in losses if loss is not None]
    if not losses:
        return "-"
    mean = summary.nats(sum(losses) / len(losses))
    if len(losses) == 1:
        return f"{mean} (1 seed)"
    interval = f"{summary.nats(min(losses))} to {summary.nats(max(losses))}"
    return f"{mean} ({len(losses)} seeds, {interval})"


def _final(first, result):
    final = result.final
    words = _spread(final.losses)
    if final.reasons:
        return f"{words}; not comparable with {first}: {'; '.join(final.reasons)}"
    if final.difference is None:
        return words
    sign = -1 if final.difference < 0 else 1
    side = "below" if sign < 0 else "above"
    interval = ""
    if final.interval:
        low, high = sorted(sign * end for end in final.interval)
        interval = f" [{low:.3f}, {high:.3f}]"
    return f"{words}, {abs(final.difference):.3f}{interval} {side} {first}'s; comparable"


def _interval_notes(first, others):
    """Describes the intervals, one line per group of arms with the same description."""
    names_by_text = {}
    for result in others:
        names_by_text.setdefault(_interval_text(first, result), []).append(result.arm.name)
    for text, names in names_by_text.items():
        yield f"{', '.join(names)}: {text}"


def _interval_text(first, result):
    counts = [len(arm.group.runs) for arm in (first, result)]
    if min(counts) < 2:
        return "a single seed, so there is no interval"
    draws = "paired by seed" if result.is_paired else "drawn for each arm on its own"
    number = " and ".join(str(count) for count in dict.fromkeys(counts))
    words = f"intervals are 95 %, by bootstrap over {number} seeds, {draws}"
    if result.inconclusive > 0 and not result.arm.against_first.obstacle:
        words += f"; {result.inconclusive:.0%} of the draws allow no conclusion"
    return words
