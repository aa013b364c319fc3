"""Distils a teacher into a small student; trains the teacher first if none is given."""

from pathlib import Path

from bertgrow.commands import pretrain
from bertgrow.recipes import load
from bertgrow.run import launch

TAKES_RECIPE, FAMILY = True, "mobilebert"
TRAINS = True
EPILOG = """examples:
  bertgrow distill --config mobilebert:smoke --workdir runs/mobilebert-smoke
  bertgrow distill --config mobilebert --config.data.store=STORE \\
      --config.transfer.teacher=runs/teacher --workdir runs/student

The stages of the recipe - teacher, layer transfer, distillation - are one run: the same command
continues it after any stop. With --config.transfer.teacher the stages that train a teacher
are skipped. `bertgrow plan` estimates the size of --cache (docs/cache.md).
exit codes: 0 finished, 1 diverged, 2 bad input, 75 saved and stopped early"""


def add_arguments(parser):
    pretrain.add_arguments(parser)
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="folder of a teacher cache: writes the teacher's outputs once, and trains the "
        "student without the teacher in memory",
    )


def main(args):
    recipe = load.read(args.config, args.overrides)
    return launch.launch(args, recipe, command="distill", cache=args.cache)
