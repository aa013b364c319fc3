"""The section of a report on held-out sentences that the model filled at its evaluations."""

from bertgrow.reporting import elements
from bertgrow.reporting.elements import text
from bertgrow.run import samples

SHOWN = 6  # evaluations of a sequence
CONTINUES, WORD = "##", "\u2581"  # begin of a token that continues a word, or begins one


def section(runs):
    """Yields the section; nothing without such sentences."""
    shown = [(i, run, rows) for i, run in enumerate(runs) if (rows := _rows(run))]
    if not shown:
        return
    yield "<h2>Filled sentences</h2>"
    yield (
        '<p class="quiet">Held-out sequences with [MASK] at every chosen position, and the '
        "most probable token there: <b>right</b>, or "
        '<span class="bad">wrong</span> (with the token of the text).</p>'
    )
    for i, run, rows in shown:
        yield f"<h3>{elements.swatch(i)}{text(run.name)}</h3>"
        for number in range(len(rows[-1]["samples"])):
            cells = [[f"{row['step']:,}", _sentence(row["samples"][number])] for row in rows]
            yield elements.table(["step", "sentence"], cells)


def _rows(run):
    """Some rows of the last stage, evenly spaced, with the last one."""
    rows = [row for row in run.rows if row.get("split") == samples.SPLIT]
    rows = [row for row in rows if row["stage"] == rows[-1]["stage"]]
    count = min(SHOWN, len(rows))
    return [rows[(n + 1) * len(rows) // count - 1] for n in range(count)]


def _sentence(sample):
    """The tokens as HTML, with the predicted ones marked."""
    predicted = dict(zip(sample["places"], sample["predicted"], strict=True))
    is_sentencepiece = any(token.startswith(WORD) for token in sample["tokens"])
    words = []
    for place, token in enumerate(sample["tokens"]):
        is_word = (
            token.startswith(WORD) if is_sentencepiece else not token.startswith(CONTINUES)
        )
        words.append(" " * is_word + _marked(token, predicted.get(place)))
    return "".join(words).strip()


def _marked(token, predicted):
    written = text(token.removeprefix(CONTINUES).removeprefix(WORD))
    if predicted is None:
        return written
    if predicted == token:
        return f"<b>{written}</b>"
    return f'<span class="bad">{text(predicted)}</span> ({written})'
