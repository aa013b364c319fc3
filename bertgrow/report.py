"""Put runs side by side, in a table and in one HTML file."""

import json
import math
import sys

import rich.console
import rich.table
from etils import epath

from bertgrow import baseline, errors, report_page, runs, summary

EPILOG = """example:
  bertgrow report runs/scratch runs/grow
The others are compared with the first run, or with the one that --baseline names."""


def add_arguments(parser):
    parser.add_argument("workdir", help="of the run to report on; gets report.html")
    parser.add_argument("others", nargs="*", metavar="OTHER", help="runs shown beside it")
    parser.add_argument("--output", metavar="FILE", help="instead of WORKDIR/report.html")
    parser.add_argument("--baseline", **baseline.OPTION)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def main(args) -> int:
    read = runs.read_all([args.workdir, *args.others])
    path = epath.Path(args.output) if args.output else read[0].folder / "report.html"
    stages = {run.name: run.stages for run in read}
    chosen = baseline.choose(stages, args.baseline, "named first")
    read = baseline.first(read, chosen, lambda run: run.name)
    arms = summary.summary(read)
    try:
        path.write_text(report_page.page(read, arms, chosen), encoding="utf-8")
    except OSError as error:
        raise errors.InputError(f"{path} cannot be written: {error}; try --output") from error
    if args.json:
        printed = {"baseline": baseline.as_json(chosen), "arms": as_json(arms)}
        print(json.dumps({**printed, "report": str(path)}, indent=2))
    else:
        show(arms, chosen)
        print(f"report: {path}")
    return 0


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
        # Numbers stay whole in 80 columns; a long name is folded instead.
        table = rich.table.Table(box=None, pad_edge=False, collapse_padding=True)
        table.add_column(header[0], overflow="fold", min_width=7)
        for name in header[1:]:
            table.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        rich.console.Console(file=file).print(table)
    else:
        for line in aligned([header, *rows]):
            print(line, file=file)
    if chosen:
        print(chosen, file=file)
    for who, what in summary.verdicts(arms):
        print(f"{who}: {what}", file=file)


def aligned(rows):
    """Rows of strings as lines; the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])


def as_json(value):
    """Named tuples as objects, and null for what JSON has no number for."""
    if isinstance(value, summary.EqualLoss):
        return as_json({**value._asdict(), "speed_up": value.speed_up})
    if isinstance(value, summary.Arm):
        return as_json(value._asdict())
    if isinstance(value, dict):
        return {name: as_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
