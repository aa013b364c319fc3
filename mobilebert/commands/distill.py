"""Distils a teacher, trained first or given, into a small student."""

from pathlib import Path

from bertgrow.commands import pretrain
from bertgrow.recipes import load
from bertgrow.run import launch

TAKES_RECIPE, FAMILY = True, "mobilebert"
EPILOG = """examples:
  bertgrow distill --config mobilebert:smoke --workdir runs/mobilebert-smoke
  bertgrow distill --config mobilebert --config.data.store=STORE \\
      --config.transfer.teacher=runs/teacher --workdir runs/student

The stages of the recipe - teacher, layer transfer, distillation - are one run: the same command
continues it wherever it was killed. With --config.transfer.teacher the stages that
would train a teacher are left out. What --cache takes, `bertgrow plan` tells (docs/cache.md).
exit codes: 0 finished, 1 diverged, 2 bad input, 75 saved and stopped early"""


def add_arguments(parser):
    pretrain.add_arguments(parser)
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="write the teacher's targets there once, and train without the teacher in memory",
    )


def main(args):
    recipe = load.read(args.config, args.overrides)
    return launch.launch(args, recipe, command="distill", cache=args.cache)
