"""Prints the summary of runs as a table, and converts it to JSON data."""

import math
import sys

import rich.console
import rich.table

from bertgrow.core import units
from bertgrow.reporting import dev_scores, summary


def show(arms, chosen=None, file=None):
    """Prints the summary: a rich table on a terminal, aligned text elsewhere.

    Args:
      arms: `summary.summary(...)`.
      chosen: the `baseline.Baseline`, or None for a single arm.
      file: standard output by default.
    """
    file = file or sys.stdout
    header, rows = summary.table(arms)
    if file.isatty():
        # In 80 columns numbers are not wrapped; a long name is.
        table = rich.table.Table(box=None, pad_edge=False, collapse_padding=True)
        table.add_column(header[0], overflow="fold", min_width=7)
        for name in header[1:]:
            table.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        rich.console.Console(file=file).print(table)
    else:
        for line in units.aligned([header, *rows]):
            print(line, file=file)
    if chosen:
        print(chosen, file=file)
    for who, what in summary.verdicts(arms):
        print(f"{who}: {what}", file=file)


def as_json(value):
    """Converts named tuples to objects, and values that are not finite to null."""
    if isinstance(value, summary.EqualLoss):
        return as_json({**value._asdict(), "speed_up": value.speed_up})
    if isinstance(value, summary.Arm | dev_scores.Score):
        return as_json(value._asdict())
    if isinstance(value, dict):
        return {name: as_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
