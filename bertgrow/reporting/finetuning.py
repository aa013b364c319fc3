"""The section of a report on fine-tuning: metrics, confusion matrix, answers."""

from bertgrow.reporting import chart, curves, dev_scores, elements
from bertgrow.reporting.elements import text

COUNTERS = ("step", "stage", "split", "length", "tokens", "flops", "seconds")  # of a row
MAX_CHARTS = 6


def is_fine_tuning(run):
    return "finetuning" in run.config


def picture(runs, cost):
    """A chart of the main dev metric against a cost, "flops" or "seconds"."""
    lines = [
        chart.Line(i, [(row[cost], row[dev_scores.metric_of(run)]) for row in rows])
        for i, run in enumerate(runs)
        if (rows := dev_scores.rows_of(run))
    ]
    names = dict.fromkeys(filter(None, map(dev_scores.metric_of, runs)))
    values = [y for line in lines for _, y in line.points]
    return chart.chart(
        lines, x=curves.COST_AXES[cost], y=f"dev {', '.join(names)}",
        y_range=curves.around(values) if values else None,
    )  # fmt: skip


def seeds(results):
    """The scores of every run of a comparison; `results` is `seeds.compare(...)`."""
    rows = []
    for i, result in enumerate(results):
        for run in result.group.runs:
            name, *cells = dev_scores.row(run)
            rows.append([elements.swatch(i) + text(name), *map(text, cells)])
    yield "<h2>Runs</h2>"
    header = ["run", "step", "metric", "dev", "best", "epoch"]
    yield elements.table(header, rows, numbers=(1, 3, 4, 5))


def section(runs):
    """Yields the section; nothing without a fine-tuning run."""
    shown = [(i, run) for i, run in enumerate(runs) if is_fine_tuning(run)]
    if not shown:
        return
    yield "<h2>Fine-tuning</h2>"
    yield from elements.grid(_curves(shown), "small")
    for i, run in shown:
        if (results := run.results) is None:
            continue
        name = f"{run.name}: {results['task']}"
        yield f"<h3>{elements.swatch(i)}{text(name)}</h3>"
        yield _metrics(results["metrics"])
        for note in results["notes"]:
            yield f'<p class="quiet">{text(note)}</p>'
        for part, details in results["details"].items():
            yield from _details(part, details)


def _curves(shown):
    """One small chart for each of the first held-out metrics, against the step."""
    evaluations = [
        (i, [row for row in run.rows if row.get("split") == "eval"]) for i, run in shown
    ]
    known = [name for _, rows in evaluations for row in rows for name in row]
    names = [name for name in dict.fromkeys(known) if name not in COUNTERS]
    for name in names[:MAX_CHARTS]:
        lines = [
            chart.Line(i, [(row["step"], row[name]) for row in rows if name in row])
            for i, rows in evaluations
        ]
        yield chart.chart(
            lines, x=("step", None), y=f"held-out {name}", width=290, height=200
        )  # fmt: skip


def _metrics(metrics):
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    rows = [
        [text(part), *(elements.plain(values.get(name)) for name in names)]
        for part, values in metrics.items()
    ]
    return elements.table(["set", *names], rows, numbers=range(1, len(names) + 1))


def _details(part, details):
    if majority := details.get("majority"):
        yield (
            f'<p class="verdict">{text(part)}: <b>stuck at one class: every prediction is '
            f"{text(majority['class'])}, accuracy {majority['accuracy']:.4f}</b></p>"
        )
    if "confusion" in details:
        classes = details["classes"]
        rows = [
            [text(name), *(f"{count:,}" for count in row)]
            for name, row in zip(classes, details["confusion"], strict=True)
        ]
        header = [f"{part}: label / prediction", *classes]
        yield elements.table(header, rows, numbers=range(1, len(header)))
    if "nbest" in details:
        yield from _answers(details["nbest"])


def _answers(questions):
    rows = [
        [
            text(each["question"]),
            text(" / ".join(each["answers"]) or "no answer"),
            "<br>".join(
                f"{text(best['text'])} {best['probability']:.2f}" for best in each["best"]
            ),
        ]
        for each in questions
    ]
    header = ["question", "answers in the data", "best spans with probability"]
    yield f"<details><summary>questions</summary>{elements.table(header, rows)}</details>"
