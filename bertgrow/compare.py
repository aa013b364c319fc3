"""Compare ways to train: what each arm saves against the first at equal held-out loss."""

import contextlib
import json
import shlex
import sys

from etils import epath

from bertgrow import compare_page, errors, report, runs, seeds

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
The first arm is the one that the others are compared with.
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
    parser.add_argument("--json", action="store_true", help="print compare.json")


def main(args) -> int:
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
        results, folder = _train(args) if args.arms else _read(args)
    if args.json:
        print(json.dumps(as_json(results, folder), indent=2))
    else:
        show(results)
        print(f"written: {', '.join(str(folder / name) for name in FILES)}")
    return 0


def _train(args):
    # Loads JAX, which a reader of finished runs need not wait for.
    from bertgrow import compare_runs

    if args.runs:
        raise errors.InputError(
            f"{args.runs[0]!r} beside --arms: runs are either trained or read; settings are "
            "given as --config.NAME=VALUE"
        )
    if not args.workdir:
        raise errors.InputError("--arms needs --workdir, where the runs are to be")
    folder = epath.Path(args.workdir)
    planned = compare_runs.plan(args.arms, _num_seeds(args), folder, args.overrides)
    done = []
    for each in compare_runs.run_all(planned, resume=_command(args)):
        done.append(runs.read(each.folder))
        results = seeds.compare(seeds.group(done))
        write(results, folder)  # after every run, so that one may look meanwhile
    return results, folder


def _num_seeds(args):
    return 1 if args.seeds is None else args.seeds


def _command(args):
    words = ["bertgrow", "compare", "--arms", *args.arms, *args.overrides]
    words += ["--seeds", str(_num_seeds(args)), "--workdir", args.workdir]
    return shlex.join(words + ["--json"] * args.json)


def _read(args):
    folders = [*args.runs, *(word for word in args.overrides if not word.startswith("-"))]
    for word in args.overrides:
        if word.startswith("-"):
            raise errors.InputError(f"{word!r} goes with --arms only; these runs are read")
    if args.seeds is not None or not folders:
        raise errors.InputError("give --arms to train, or working directories to read")
    read = runs.read_all([run for folder in folders for run in _runs_in(epath.Path(folder))])
    folder = epath.Path(args.workdir) if args.workdir else read[0].folder.resolve().parent
    results = seeds.compare(seeds.group(read))
    write(results, folder)
    return results, folder


def _runs_in(folder):
    """The folder itself where it is a run; else the runs in it, in the order of its arms."""
    if not folder.is_dir() or (folder / "config.json").exists():
        return [folder]
    found = sorted(path for path in folder.iterdir() if (path / "config.json").exists())
    order = []
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads((folder / FILES[0]).read_text())
        order = [run["folder"] for arm in known["arms"] for run in arm["runs"]]
    found.sort(key=lambda path: order.index(path.name) if path.name in order else len(order))
    return found or [folder]


def show(results):
    """Prints the table, what each arm saves, and whether the last losses compare."""
    report.show([result.arm for result in results])
    for line in compare_page.notes(results):
        print(line)


def write(results, folder):
    """Writes compare.json, compare.svg and compare.html."""
    contents = (
        json.dumps(as_json(results, folder), indent=1) + "\n",
        compare_page.picture(results),
        compare_page.page(results),
    )
    for name, content in zip(FILES, contents, strict=True):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
        except OSError as error:
            raise errors.InputError(
                f"{folder / name} cannot be written: {error}; give another --workdir"
            ) from error


def as_json(results, folder):
    """All figures and the curves behind them; `folder` is where they are written."""
    return {"arms": [report.as_json(_arm(result, folder)) for result in results]}


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
    """The path of a run from a folder that it is in, so that both can move; else as given."""
    inner, outer = run.resolve(), folder.resolve()
    return str(inner.relative_to(outer) if inner.is_relative_to(outer) else run)


def _run(run, folder):
    fields = ("step", "stage", "length", "tokens", "flops", "seconds", "mask_loss", "unigram")
    return {
        "folder": _place(run.folder, folder),
        "seed": seeds.seed(run),
        "is_finished": seeds.is_finished(run),
        "store": (run.config.get("store") or {}).get("hash"),
        "versions": run.config.get("versions"),
        "evaluations": [{f: row[f] for f in fields if f in row} for row in run.evaluations],
    }
