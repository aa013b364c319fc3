"""Compares training recipes with a baseline: cost at equal held-out loss."""

import contextlib
import json
import shlex
import sys

from etils import epath

from bertgrow.core import errors
from bertgrow.reporting import baseline, compare_page, comparison, table
from bertgrow.run import records

TAKES_RECIPE = True
EPILOG = """examples:
  bertgrow compare --arms full=demo:scratch grown=demo:grow \\
      --seeds 3 --config.data.store=STORE --workdir runs/demo
  bertgrow compare runs/demo
  bertgrow compare runs/full-seed0 runs/full-seed1 runs/grown-seed0 runs/grown-seed1

With --arms, every arm and seed is trained, one after another, as a `bertgrow pretrain` in
WORKDIR/ARM-seedN; settings `--config.NAME=VALUE` hold for all arms. What is finished is
skipped, and the same command continues after a stop. Otherwise runs are only read.
The others are compared with the arm that --baseline names; by default with the one named
first, and in a folder without a compare.json with the one that costs the most FLOPs a step.
exit codes: 0 finished, 1 a run failed, 2 bad input, 75 saved and stopped early"""


def add_arguments(parser):
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="working directories to read, or a folder of them",
    )
    parser.add_argument(
        "--arms", nargs="+", metavar="NAME=RECIPE[:VARIANT]", help="the recipe of each arm"
    )
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="train seeds 0 to N-1; default 1"
    )
    parser.add_argument(
        "--workdir", metavar="DIR", help="for runs and results; when reading, beside the first"
    )
    parser.add_argument("--baseline", **baseline.OPTION)
    parser.add_argument("--json", action="store_true", help="print compare.json")


def main(args) -> int:
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
        results, chosen, folder = _train(args) if args.arms else read(args)
    if args.json:
        print(json.dumps(comparison.as_json(results, folder, chosen), indent=2))
        return 0
    table.show([result.arm for result in results], chosen)
    for line in compare_page.notes(results):
        print(line)
    print(f"written: {', '.join(str(folder / name) for name in comparison.FILES)}")
    return 0


def _train(args):
    # Imported here because it loads JAX, which takes time and is not needed to read runs.
    from bertgrow.run import arms, claim

    if args.runs:
        raise errors.InputError(
            f"{args.runs[0]!r} beside --arms: runs are either trained or read; settings are "
            "given as --config.NAME=VALUE"
        )
    if not args.workdir:
        raise errors.InputError("--arms needs --workdir, the folder of the runs")
    folder = epath.Path(args.workdir)
    recipes = _baseline_first(args.arms, args.baseline)
    planned = arms.plan(recipes, _num_seeds(args), folder, args.overrides)
    finished = []
    with claim.claim(args.workdir):
        for run in arms.run_all(planned, resume=_command(args)):
            finished.append(records.read(run.folder))
            # After every run, so that intermediate results can be read.
            results, chosen = comparison.compare(finished, folder, args.baseline, "named first")
    return results, chosen, folder


def read(args):
    """Reads the runs of the arguments: results, the `Baseline`, and the output folder."""
    folders = [*args.runs, *(word for word in args.overrides if not word.startswith("-"))]
    for word in args.overrides:
        if word.startswith("-"):
            raise errors.InputError(f"{word!r} goes with --arms only; these runs are read")
    if args.seeds is not None or not folders:
        raise errors.InputError("give --arms to train, or working directories to read")
    folders = [epath.Path(folder) for folder in folders]
    runs = [run for folder in folders for run in comparison.runs_in(folder)]
    runs = records.read_all(runs)
    output = epath.Path(args.workdir) if args.workdir else runs[0].folder.resolve().parent
    order = comparison.reason_of_order(folders[0])
    return *comparison.compare(runs, output, args.baseline, order), output


def _baseline_first(arms, name):
    """The values of --arms with the baseline first, so that it is trained first."""
    names = [word.partition("=")[0] for word in arms]
    baseline.check(name, names)
    return sorted(arms, key=lambda word: word.partition("=")[0] != name) if name else arms


def _num_seeds(args):
    return 1 if args.seeds is None else args.seeds


def _command(args):
    """Shell command that continues the comparison, in one line."""
    words = ["bertgrow", "compare", "--arms", *args.arms, *args.overrides]
    words += ["--seeds", str(_num_seeds(args)), "--workdir", args.workdir]
    words += ["--baseline", args.baseline] if args.baseline else []
    return shlex.join(words + ["--json"] * args.json)
