"""The section of a report on goodput: what the time of a run was spent on."""

from bertgrow.core import units
from bertgrow.reporting import elements
from bertgrow.reporting.elements import text
from bertgrow.run import goodput


def section(runs):
    """Yields the section; nothing for runs that have not recorded it."""
    spent = [(i, run, seconds) for i, run in enumerate(runs) if (seconds := _seconds(run))]
    if not spent:
        return
    phases = [name for name in goodput.PHASES if any(each[name] for _, _, each in spent)]
    rows = [
        [elements.swatch(i) + text(run.name), units.duration(sum(seconds.values()))]
        + [f"{seconds[name] / sum(seconds.values()):.1%}" for name in phases]
        for i, run, seconds in spent
    ]
    yield "<h2>Time</h2>"
    yield (
        '<p class="quiet">All starts of a run, from the opening of its folder to the newest '
        "checkpoint. Lost: steps that were trained again after a kill; what else a killed "
        "start did after its last checkpoint is not known.</p>"
    )
    header = ["run", "time", *phases]
    yield elements.table(header, rows, numbers=range(1, len(header)))


def _seconds(run):
    """{phase: seconds}, or {} if the run has no row of them."""
    spent = goodput.spent(run.rows)
    return dict.fromkeys(goodput.PHASES, 0.0) | spent if any(spent.values()) else {}
