"""Fine-tunes a model on GLUE, SQuAD or a labelled table."""

import argparse
import functools
import shlex
import threading
from pathlib import Path

from bertgrow.commands import fill, pretrain
from bertgrow.core.errors import InputError
from bertgrow.run.processes import places

TRAINS = True
EPILOG = """examples:
  bertgrow finetune --task glue/sst2 --from RUN --data GLUE --workdir runs/sst2
  bertgrow finetune --task squad1 --from HF_DIR --data SQUAD --workdir runs/squad
  bertgrow finetune --task classify --from RUN --data train.csv --text-column text \\
      --label-column label --workdir runs/mine
  bertgrow finetune --all --from RUN --data GLUE --grid learning_rate=3e-5,1e-4 seeds=5 \\
      --workdir runs/glue
  bertgrow finetune --task glue/mnli --from SMALL --teacher runs/large-mnli --data GLUE \\
      --workdir runs/small-mnli

The same command continues a stopped or killed run. At the end it writes predictions/,
results.json and MODEL_CARD.md into the working directory. `bertgrow report` shows it."""
NUMBERS = (  # option, type, default, help
    ("--learning-rate", float, None, "peak; default 3e-5, 4e-5 without a pooler"),
    ("--batch", int, 32, "sequences of a step; default 32"),
    ("--epochs", float, None, "default 3, SQuAD 2, 5 for a model without a pooler"),
    ("--length", int, None, "tokens of a sequence at most; default 128, SQuAD 384"),
)
OPTIONS = (  # that a stopped run prints again where they are given
    "step", "dev", "text_column", "pair_column", "label_column", "learning_rate", "epochs",
    "length", "teacher", "label_weight", "temperature",
)  # fmt: skip
LABEL_WEIGHT, TEMPERATURE = 0.5, 1.0


def add_arguments(parser):
    parser.add_argument("--task", help="glue/NAME, squad1, squad2, classify or regress")
    parser.add_argument(
        "--all", action="store_true", help="every task of GLUE whose folder is in --data"
    )
    fill.add_source(parser)
    parser.add_argument(
        "--data", required=True, type=Path, metavar="DIR|FILE",
        help="folder of GLUE or SQuAD, or a table: TSV, CSV, JSONL, Parquet",
    )  # fmt: skip
    parser.add_argument(
        "--dev",
        type=Path,
        metavar="FILE",
        help="labelled file to evaluate on, of SQuAD or a table",
    )
    pretrain.add_run_arguments(parser)
    places.add_arguments(parser)
    for name in ("text", "pair", "label"):
        parser.add_argument(f"--{name}-column", metavar="NAME", help=f"{name} of a table")
    for name, kind, default, words in NUMBERS:
        parser.add_argument(
            name, type=_positive(kind), default=default, metavar="N", help=words
        )
    parser.add_argument(
        "--grid", nargs="+", metavar="NAME=VALUES",
        help="learning_rate=1e-5,3e-5 batch=16,32 epochs=2,4 seeds=5: a run for each "
        "combination; or a preset, bert or mobilebert: the grids of the papers",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the head, order and dropout")
    parser.add_argument(
        "--teacher", metavar="DIR",
        help="--workdir of a larger model fine-tuned for the task; its outputs are soft labels",
    )  # fmt: skip
    parser.add_argument(
        "--label-weight", type=float, metavar="W",
        help=f"of the loss with the true labels, 0 to below 1; default {LABEL_WEIGHT}, and the "
        "rest is that of the teacher's",
    )  # fmt: skip
    parser.add_argument(
        "--temperature", type=_positive(float), metavar="T",
        help=f"divides the logits in the loss with the teacher's labels; default {TEMPERATURE}",
    )  # fmt: skip


def main(args):
    # Imported here because they load JAX, which `--help` does not need.
    import jax

    from bertgrow.core import signals
    from bertgrow.finetune import grid, job, launch, reading, search
    from bertgrow.inference import model

    is_search = args.all or args.grid is not None
    values, seeds = grid.parse(args.grid or [])
    _check(args, is_search)
    tasks = search.found_tasks(args.data) if args.all else [args.task]
    columns = (args.text_column, args.pair_column, args.label_column)
    for task in tasks:
        reading.check(task, columns)
    steps = [None, None]
    if not args.restart:
        begun = search.begun if is_search else lambda folder: [folder]
        steps = launch.first_steps(lambda: begun(args.workdir))
    pretrained = model.read(args.source, steps[0] if args.step is None else args.step)
    teacher = _teacher(args, steps[1])
    limit, reading_lock = args.time_limit and args.time_limit * 60, threading.Lock()

    def settings(task):
        return reading.settings(
            task, pretrained, learning_rate=args.learning_rate, batch=args.batch,
            epochs=args.epochs, length=args.length, seed=args.seed,
        )  # fmt: skip

    @functools.lru_cache(1)  # the runs of a task share its data
    def read(task):
        return reading.read(
            task, args.data, pretrained.tokenizer, settings(task).length,
            columns=columns, dev=args.dev,
        )  # fmt: skip

    def problem(task):
        with reading_lock:  # so that runs at the same time read it once
            return read(task)

    def fine_tune(task, settings, folder, place=None):
        return launch.launch(
            folder, lambda: problem(task), pretrained, settings, resume=_resume(args),
            teacher=teacher, stop_after=limit, start=args.start, restart=args.restart,
            place=place,
        )  # fmt: skip

    if not is_search:
        _print(_lines(fine_tune(args.task, settings(args.task), args.workdir)))
        return 0
    label = teacher and teacher.describe()
    table = search.run_all(
        args.workdir, tasks, lambda task: grid.settings(settings(task), values, seeds),
        fine_tune,
        lambda task: (job.digest(problem(task)), pretrained.source, label),
        devices=jax.devices() if jax.process_count() == 1 else (),
        request=lambda: signals.StopRequest(
            resume=_resume(args), time_limit=limit, start=args.start
        ),
    )  # fmt: skip
    _print([*search.lines(table), f"written: {args.workdir / 'search.json'}"])
    return 0


def _check(args, is_search):
    if args.all == (args.task is not None):
        raise InputError(
            "give either --task NAME or --all, which runs every task of GLUE found"
        )
    if is_search and args.restart:
        raise InputError("--restart is for one run; remove the folders of runs to repeat")


def _teacher(args, step):
    """`teachers.Teacher` of the options; `step` of its checkpoint that the run began with."""
    from bertgrow.finetune import teachers
    from bertgrow.inference import model

    if args.teacher is None:
        for name in ("label_weight", "temperature"):
            if getattr(args, name) is not None:
                raise InputError(f"--{name.replace('_', '-')} is of --teacher DIR; give one")
        return None
    weight = LABEL_WEIGHT if args.label_weight is None else args.label_weight
    if not 0 <= weight < 1:
        raise InputError(f"--label-weight {weight:g}; expected 0 to below 1")
    return teachers.make(
        model.read(args.teacher, step), weight, args.temperature or TEMPERATURE
    )


def _lines(outcome):
    from bertgrow.finetune import card

    for name, metrics in outcome.results["metrics"].items():
        for metric, value in metrics.items():
            yield f"{name:12} {metric:20} {value:.4f}"
    yield from (*card.warnings(outcome.results), *outcome.results["notes"])
    yield from (f"written: {file}" for file in outcome.files)


def _print(lines):
    """Prints in the first process."""
    import jax

    if jax.process_index() == 0:
        print(*lines, sep="\n")


def _resume(args):
    """Shell command that continues the run."""
    words = ["bertgrow", "finetune", *(["--all"] if args.all else ["--task", args.task])]
    words += ["--from", args.source, "--data", args.data, "--workdir", args.workdir]
    words += ["--batch", args.batch, "--seed", args.seed]
    words += places.words(args)
    words += ["--grid", *args.grid] if args.grid is not None else []
    for name in OPTIONS:
        if getattr(args, name) is not None:
            words += [f"--{name.replace('_', '-')}", getattr(args, name)]
    return shlex.join(map(str, words))


def _positive(kind):
    """Type of an option: a number above 0."""

    def read(text):
        try:
            number = kind(text)
        except ValueError:
            number = 0
        if not 0 < number < 2**31:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r}; expected {what} above 0")
        return number

    return read
