"""Reports on one or several runs, as a table and as an HTML page."""

import json

from etils import epath

from bertgrow.core import errors, system_files
from bertgrow.reporting import baseline, report_page, summary, table
from bertgrow.run import records

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
    path, arms, chosen = write(args)
    if args.json:
        printed = {"baseline": baseline.as_json(chosen), "arms": table.as_json(arms)}
        print(json.dumps({**printed, "report": str(path)}, indent=2))
    else:
        table.show(arms, chosen)
        print(f"report: {path}")
    return 0


def write(args):
    """Writes the page; returns its path, the summaries of the runs and the `Baseline`."""
    read = records.read_all([args.workdir, *args.others])
    path = epath.Path(args.output) if args.output else read[0].folder / "report.html"
    stages = {run.name: run.stages for run in read}
    chosen = baseline.choose(stages, args.baseline, "named first")
    read = baseline.first(read, chosen, lambda run: run.name)
    arms = summary.summary(read)
    if not path.parent.is_dir():
        raise errors.InputError(f"the folder of {path} is missing; make it, or change --output")
    system_files.write_atomically(path, report_page.page(read, arms, chosen))
    return path, arms, chosen
