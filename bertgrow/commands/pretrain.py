"""Pre-trains an encoder with a recipe, and grows it from stage to stage."""

import math
from pathlib import Path

from bertgrow.core.errors import InputError
from bertgrow.recipes import load
from bertgrow.run import launch, profiling
from bertgrow.run.processes import places

TAKES_RECIPE = True
TRAINS = True
EPILOG = """examples:
  bertgrow pretrain --config bert_base_grow:smoke --workdir runs/smoke
  bertgrow pretrain --config bert_base_grow --config.data.store=STORE \\
      --config.schedule.peak=2e-4 --config.stages[0].steps=1000 --workdir runs/base

The same command continues a stopped or killed run. SIGTERM and Ctrl-C save and stop.
exit codes: 0 finished, 1 diverged or a growth changed the function against its claim,
2 bad input, 75 saved and stopped early"""


def add_arguments(parser):
    load.add_argument(parser)
    places.add_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument(
        "--extend",
        action="store_true",
        help="allow more steps in the last stage than the run was started with",
    )
    parser.add_argument(
        "--profile", type=profiling.window, metavar="FIRST:LAST",
        help="write a trace of these steps of the run, e.g. 50:60, into WORKDIR/profile",
    )  # fmt: skip


def add_run_arguments(parser):
    """Adds `--workdir`, `--restart` and `--time-limit`, which all commands that train have."""
    parser.add_argument(
        "--workdir", required=True, type=_folder, help="folder for all files of the run"
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="begin anew; moves the files of an earlier run into WORKDIR/aside-TIME",
    )
    parser.add_argument(
        "--time-limit", type=_minutes, metavar="MINUTES",
        help="save and stop this many minutes after the start of the command",
    )  # fmt: skip


def _folder(text):
    if "://" in text:
        raise InputError(
            f"--workdir {text}: runs write to a disk; mount the bucket, or give a folder that "
            "all machines share"
        )
    return Path(text)


def _minutes(text):
    """Value of `--time-limit`, a number above 0."""
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not 0 < limit < math.inf:
        raise InputError(f"--time-limit {text!r}; expected minutes above 0, e.g. 90")
    return limit


def main(args):
    return launch.launch(args, load.read(args.config, args.overrides), command="pretrain")
