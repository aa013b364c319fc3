"""The section of growth certificates in a report."""

from bertgrow.core import units
from bertgrow.reporting import elements
from bertgrow.reporting.elements import text

COLUMNS = {  # field of a certificate: column heading
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
MEASURED = ("max_logit_change", "logit_scale", "loss_change", "parameters_after")


def section(runs):
    if not any(run.certificates for run in runs):
        return
    yield "<h2>Growth certificates</h2>"
    yield (
        '<p class="quiet">What each operator changed, in order, and what that did to the model '
        "on a fixed held-out batch in float32, against what it claims.</p>"
    )
    for i, run in enumerate(runs):
        for certificate in run.certificates:
            yield from _certificate(certificate, elements.swatch(i) + text(run.name))


def _certificate(certificate, run):
    at = f" at step {certificate['step']}" if "step" in certificate else ""
    yield f"<h3>{run} {text(certificate.get('transition', ''))}{at}</h3>"
    operators = certificate.get("rows") or []
    words = ", ".join(_changes(operators))
    yield f"<p>{text('no weight changes' if certificate.get('rows') == [] else words)}</p>"
    shown = [name for name in COLUMNS if any(name in row for row in operators)]
    numbers = [i for i, name in enumerate(shown) if name in MEASURED]
    cells = [[_cell(name, row.get(name)) for name in shown] for row in operators]
    yield elements.table([COLUMNS[name] for name in shown], cells, numbers)
    rest = {k: v for k, v in certificate.items() if k not in ("transition", "step", "rows")}
    for name in [name for name, value in rest.items() if _is_table(value)]:
        yield from _listed(name, rest.pop(name))
    rest["operators"] = [
        {name: value for name, value in row.items() if name not in shown} for row in operators
    ]
    details = [[f"<code>{text(k)}</code>", _cell(k, v)] for k, v in elements.flat(rest)]
    yield f"<details><summary>more</summary>{elements.table(['', ''], details)}</details>"


def _is_table(value):
    return isinstance(value, list) and value and all(isinstance(row, dict) for row in value)


def _listed(name, rows):
    """A list of records as a table, e.g. the leaves of a copy."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_cell(column, row.get(column)) for column in columns] for row in rows]
    title = f"{text(name)}: {len(rows)}"
    yield f"<details><summary>{title}</summary>{elements.table(columns, cells)}</details>"


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
    return elements.plain(value)


def _cell(name, value):
    if name == "holds" and value is False:
        return '<span class="bad">no</span>'
    return text(_amount(name, value))
