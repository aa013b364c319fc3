"""The section of a report on fine-tuning: metrics, confusion matrix, answers."""

from bertgrow.reporting import elements
from bertgrow.reporting.elements import text


def section(runs):
    """Yields the section; nothing without the results of a fine-tuning run."""
    shown = [(i, run) for i, run in enumerate(runs) if run.results]
    if not shown:
        return
    yield "<h2>Fine-tuning</h2>"
    for i, run in shown:
        results = run.results
        name = f"{run.name}: {results['task']}"
        yield f"<h3>{elements.swatch(i)}{text(name)}</h3>"
        yield _metrics(results["metrics"])
        for note in results["notes"]:
            yield f'<p class="quiet">{text(note)}</p>'
        for part, details in results["details"].items():
            yield from _details(part, details)


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
