"""Compares training recipes with a baseline: cost at equal held-out loss."""

import contextlib
import json
import shlex
import sys

from etils import epath

from bertgrow.core import errors
from bertgrow.reporting import baseline, compare_page, seeds, table
from bertgrow.run import records

TAKES_RECIPE = True
FILES = ("compare.json", "compare.svg", "compare.html")
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
        results, chosen, folder = _train(args) if args.arms else _read(args)
    if args.json:
        print(json.dumps(as_json(results, folder, chosen), indent=2))
    else:
        show(results, chosen)
        print(f"written: {', '.join(str(folder / name) for name in FILES)}")
    return 0


def _train(args):
    # Imported here because it loads JAX, which takes time and is not needed to read runs.
    from bertgrow.run import arms

    if args.runs:
        raise errors.InputError(
            f"{args.runs[0]!r} beside --arms: runs are either trained or read; settings are "
            "given as --config.NAME=VALUE"
        )
    if not args.workdir:
        raise errors.InputError("--arms needs --workdir, where the runs are to be")
    folder = epath.Path(args.workdir)
    words = _baseline_first(args.arms, args.baseline)
    planned = arms.plan(words, _num_seeds(args), folder, args.overrides)
    done = []
    for each in arms.run_all(planned, resume=_command(args)):
        done.append(records.read(each.folder))
        # After every run, so that intermediate results can be read.
        results, chosen = _compare(done, folder, args.baseline, order="named first")
    return results, chosen, folder


def _baseline_first(arms, name):
    """The values of --arms with the baseline first, so that it is trained first."""
    names = [word.partition("=")[0] for word in arms]
    baseline.check(name, names)
    return sorted(arms, key=lambda word: word.partition("=")[0] != name) if name else arms


def _compare(read, folder, name, order):
    """Compares runs: (results, `Baseline`), also written to a folder."""
    groups = seeds.group(read)
    arms = {group.name: group.runs[0].stages for group in groups}
    chosen = baseline.choose(arms, name, order)
    results = seeds.compare(baseline.first(groups, chosen, lambda group: group.name))
    write(results, folder, chosen)
    return results, chosen


def _num_seeds(args):
    return 1 if args.seeds is None else args.seeds


def _command(args):
    words = ["bertgrow", "compare", "--arms", *args.arms, *args.overrides]
    words += ["--seeds", str(_num_seeds(args)), "--workdir", args.workdir]
    words += ["--baseline", args.baseline] if args.baseline else []
    return shlex.join(words + ["--json"] * args.json)


def _read(args):
    folders = [*args.runs, *(word for word in args.overrides if not word.startswith("-"))]
    for word in args.overrides:
        if word.startswith("-"):
            raise errors.InputError(f"{word!r} goes with --arms only; these runs are read")
    if args.seeds is not None or not folders:
        raise errors.InputError("give --arms to train, or working directories to read")
    folders = [epath.Path(folder) for folder in folders]
    read = records.read_all([run for folder in folders for run in _runs_in(folder)])
    folder = epath.Path(args.workdir) if args.workdir else read[0].folder.resolve().parent
    results, chosen = _compare(read, folder, args.baseline, _order(folders[0]))
    return results, chosen, folder


def _order(folder):
    """The reason for the order of the given runs; None if the order has no meaning."""
    if not _is_folder_of_runs(folder):
        return "named first"
    return f"first in {folder / FILES[0]}" if _known_order(folder) else None


def _is_folder_of_runs(folder):
    return folder.is_dir() and not (folder / "config.json").exists()


def _known_order(folder):
    """Names of runs in the order of the folder's last comparison; empty without one."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads((folder / FILES[0]).read_text())
        return [run["folder"] for arm in known["arms"] for run in arm["runs"]]
    return []


def _runs_in(folder):
    """The folder itself if it is a run; else the runs in it, in the order of its arms."""
    if not _is_folder_of_runs(folder):
        return [folder]
    found = sorted(path for path in folder.iterdir() if (path / "config.json").exists())
    order = _known_order(folder)
    found.sort(key=lambda path: order.index(path.name) if path.name in order else len(order))
    return found or [folder]


def show(results, chosen):
    """Prints the table, the speed-up of each arm, and whether final losses are comparable."""
    table.show([result.arm for result in results], chosen)
    for line in compare_page.notes(results):
        print(line)


def write(results, folder, chosen):
    """Writes compare.json, compare.svg and compare.html."""
    contents = (
        json.dumps(as_json(results, folder, chosen), indent=1) + "\n",
        compare_page.picture(results),
        compare_page.page(results, chosen),
    )
    for name, content in zip(FILES, contents, strict=True):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
        except OSError as error:
            raise errors.InputError(
                f"{folder / name} cannot be written: {error}; give another --workdir"
            ) from error


def as_json(results, folder, chosen):
    """All results and the evaluation curves; `folder` is the output folder."""
    arms = [table.as_json(_arm(result, folder)) for result in results]
    return {"baseline": baseline.as_json(chosen), "arms": arms}


def _arm(result, folder):
    arm = result.arm._asdict()
    against = arm.pop("against_first")
    if against:
        arm["against_first"] = against._asdict() | {
            "speed_up": against.speed_up,
            "is_paired": result.is_paired,
            "inconclusive": result.inconclusive,
            "by_seed": {str(seed): equal for seed, equal in result.pairs.items()},
        }
    else:
        arm["against_first"] = None
    return arm | {
        "seeds": result.group.seeds,
        "final": result.final._asdict(),
        "stages": result.mean.stages,
        "runs": [_run(run, folder) for run in result.group.runs],
    }


def _place(run, folder):
    """Path of a run relative to a folder around it, so that both can move; else as given."""
    inner, outer = run.resolve(), folder.resolve()
    return str(inner.relative_to(outer) if inner.is_relative_to(outer) else run)


def _run(run, folder):
    fields = ("step", "stage", "length", "tokens", "flops", "seconds", "mask_loss", "unigram")
    return {
        "folder": _place(run.folder, folder),
        "seed": seeds.seed(run),
        "is_finished": run.is_finished,
        "store": (run.config.get("store") or {}).get("hash"),
        "versions": run.config.get("versions"),
        "evaluations": [{f: row[f] for f in fields if f in row} for row in run.evaluations],
    }
