"""Kills a run at random moments and checks that it ends as if nothing had happened."""

import contextlib
import json
import sys
from pathlib import Path

import rich.box
import rich.console
import rich.table

from bertgrow.core.errors import InputError
from bertgrow.recipes import load, resolve, token_stores

TAKES_RECIPE = True
EPILOG = """examples:
  bertgrow drill --config demo:grow --kills 20 --workdir runs/drill
  bertgrow drill --command distill --config mobilebert:smoke --kills 5 --workdir runs/drill

Trains the recipe twice: undisturbed, and killed N times by SIGTERM or SIGKILL, at random
moments from the start on, and restarted. Prints every kill and how the processes left. The
metrics of both runs must be equal, to the bit on one machine.
exit codes: 0 passed, 1 failed, 2 bad input"""


def add_arguments(parser):
    load.add_argument(parser)
    parser.add_argument(
        "--command", default="pretrain", choices=("pretrain", "distill"), help="what trains"
    )
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N",
        help="processes of the run, all on this machine; default: 1",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default: 0")
    parser.add_argument(
        "--workdir", required=True, type=Path, help="for both runs; a new folder"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def main(args):
    # Imported here: it reads metrics, which loads JAX.
    from bertgrow.run.drill import drill

    _check(args)
    drill.check_words(args.overrides)
    recipe = load.read(args.config, args.overrides)
    stores = token_stores.open_all(recipe)
    steps = resolve.resolve(recipe, vocab=stores[0].vocab).stages[-1].end
    args.workdir.mkdir(parents=True)
    words = [args.command, "--config", args.config, *args.overrides]
    both = drill.Drill(words, args.workdir, processes=args.processes, seed=args.seed)
    with contextlib.redirect_stdout(sys.stderr):
        print(f"undisturbed: {steps} steps", flush=True)
        both.undisturbed()
        kills = []
        for kill in both.kills(args.kills, steps):
            kills.append(kill)
            print(f"kill {len(kills)} of {args.kills}: {kill.signal}", flush=True)
    differences = both.differences()
    result = dict(
        kills=[kill._asdict() | dict(problem=kill.problem) for kill in kills],
        wanted=args.kills,
        differences=differences,
        passed=not differences and not any(kill.problem for kill in kills),
    )
    print(json.dumps(result, indent=2)) if args.json else _show(result)
    return 0 if result["passed"] else 1


def _check(args):
    if args.kills < 1:
        raise InputError(f"--kills is {args.kills}; expected 1 or more")
    if args.processes < 1:
        raise InputError(f"--processes is {args.processes}; expected 1 or more")
    if args.workdir.exists():
        raise InputError(f"--workdir {args.workdir} exists; give a folder that does not")


def _show(result):
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    columns = ("kill", "signal", "to", "after, s", "at", "exit codes", "left in, s", "")
    for name in columns:
        is_number = name in ("kill", "after, s", "left in, s")
        table.add_column(name, justify="right" if is_number else "left")
    for number, kill in enumerate(result["kills"], start=1):
        codes = ", ".join(map(str, kill["codes"]))
        table.add_row(
            str(number), kill["signal"], kill["target"], f"{kill['seconds']:.1f}",
            kill["phase"], codes, f"{kill['left']:.1f}", kill["problem"] or "as expected",
        )  # fmt: skip
    rich.console.Console(width=None if sys.stdout.isatty() else 120).print(table)
    done, wanted = len(result["kills"]), result["wanted"]
    if done < wanted:
        print(f"the run ended after {done} of {wanted} kills: give a recipe with more steps")
    for line in result["differences"][:5]:
        print(f"metrics differ: {line}")
    print(
        f"{'PASSED' if result['passed'] else 'FAILED'}: {done} kills, metrics "
        f"{'differ' if result['differences'] else 'equal'}"
    )
