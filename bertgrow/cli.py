"""CLI entry point: dispatches commands and maps exceptions to exit codes.

A command is a module registered under the entry point `bertgrow.commands`. It has a docstring
(its help), `EPILOG` (an example), `add_arguments(parser)` and `main(args) -> int`. A line
`TRAINS = True` allows several processes (`bertgrow/run/processes`). An exception of
`bertgrow.core.errors` is printed as one line.
"""

import argparse
import ast
import errno
import importlib.util
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from importlib.metadata import entry_points
from pathlib import Path

from bertgrow import __version__
from bertgrow.core import units
from bertgrow.core.errors import (
    EXIT_FAILED,
    EXIT_INPUT,
    EXIT_STOPPED,
    CheckFailed,
    InputError,
    Stopped,
)
from bertgrow.run.processes import places, watching

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, limit of a file's size


def run(argv):
    """Like `main`, but an unexpected exception and lost output are one line, too."""
    try:
        code = main(argv)
        sys.stdout.flush()
    except Exception as error:
        if watching.is_child():
            watching.wait_for_verdict()
        return _complain(_unexpected(error, argv), EXIT_FAILED)
    if lost := sys.stdout.error:
        return _complain(f"standard output: {lost.strerror}; give it another place")
    return code


def main(argv=None):
    """Runs one command and returns its exit code (docs/errors.md)."""
    start = watching.start_of_parent() if watching.is_child() else time.monotonic()
    argv = list(sys.argv[1:] if argv is None else argv)
    commands = {point.name: point for point in entry_points(group="bertgrow.commands")}
    name = argv[0] if argv else "--help"
    if name in ("--version", "-V"):
        print(f"bertgrow {__version__}")
        return 0
    if name in ("--help", "-h", "help"):
        print(_overview(commands))
        return 0
    if name not in commands:
        return _complain(f"no command called {name!r}; known: {', '.join(sorted(commands))}")
    try:
        if place := _place(commands[name].module, argv):
            return watching.run(place, argv, start)
        return _run(name, commands[name], argv[1:], start)
    except InputError as error:
        return _complain(str(error))
    except CheckFailed as error:
        return _complain(str(error), EXIT_FAILED)
    except Stopped as error:
        print(f"bertgrow: {error}", file=sys.stderr)  # unchanged: it contains a command to copy
        return EXIT_STOPPED
    except OSError as error:
        if error.strerror is None:
            raise
        return _complain(_of_system(error))


def _run(name, point, argv, start):
    module = point.load()
    parser = _Parser(
        prog=f"bertgrow {name}",
        description=module.__doc__,
        epilog=module.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    if getattr(module, "TAKES_RECIPE", False):
        parser.add_argument(
            "--help-config", action="store_true", help="print all fields of a recipe and exit"
        )
        if "--help-config" in argv:
            return _help_config(argv, getattr(module, "FAMILY", "bert"))
        args, args.overrides = parser.parse_known_args(argv)
    else:
        args = parser.parse_args(argv)
    args.start = start  # `time.monotonic()`, before the command's modules are loaded
    if watching.is_child():
        from bertgrow.run.processes import joining  # imports JAX

        joining.join()
    return module.main(args) or 0


def _place(module, argv):
    """`Place` among several processes for a command that trains; None for a single process.

    It reads the source of the command: the process that only watches another imports no JAX.
    """
    is_help = {"--help", "-h", "--help-config"} & set(argv)
    if watching.is_child() or is_help or "TRAINS = True" not in _source(module).splitlines():
        return None
    return places.find(argv)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        """Reports one line instead of the usage text of argparse."""
        raise InputError(f"{message}; see {self.prog} --help")


def _help_config(argv, family):
    """Prints the fields of the recipe in `argv`; without one, those of a recipe of `family`."""
    from bertgrow.recipes import describe, load  # imports JAX, which `--help` does not need

    parser = _Parser(prog="bertgrow", add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    parser.add_argument("--arms", nargs="+", default=[])
    args, _ = parser.parse_known_args(argv)
    recipes = [args.config] if args.config else [arm.partition("=")[2] for arm in args.arms]
    if recipes:
        family = load.read(recipes[0], []).model.family
    print(describe.text(family, shutil.get_terminal_size().columns))
    return 0


def _overview(commands):
    """Lists the commands; reads their source files, so that `--help` imports none of them."""
    lines = ["usage: bertgrow COMMAND [...]", "", "commands:"]
    for name, point in sorted(commands.items()):
        lines.append(f"  {name:<10}{_first_line(point.module)}")
    lines += ["", "bertgrow COMMAND --help shows its options and an example."]
    return "\n".join(lines)


def _first_line(module):
    return ast.get_docstring(ast.parse(_source(module))).split("\n")[0]


def _source(module):
    return Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")


def _of_system(error):
    """Message for a call of the operating system that failed, e.g. because a disk is full."""
    name = os.fsdecode(error.filename) if error.filename is not None else ""
    where = f"{name}: " if name else ""
    if error.errno not in FULL:
        return f"{where}{error.strerror}"
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if error.errno == errno.EFBIG and limit != resource.RLIM_INFINITY:
        limit = units.si(limit, "B")
        return f"{where}{error.strerror}; a file may have {limit}, raise that with ulimit -f"
    folder = name if os.path.isdir(name) else os.path.dirname(os.path.abspath(name))
    try:
        free = units.si(shutil.disk_usage(folder).free, "B")
    except OSError:
        free = "an unknown number of bytes"
    return f"{where}{error.strerror}; {folder} has {free} free, make room there"


def _unexpected(error, argv):
    """Writes the traceback to a file and names it."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="bertgrow-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        traceback.print_exception(error, file=file)
    first = str(error).partition("\n")[0]
    command = argv[0] if argv else "the command line"
    return (
        f"unexpected {type(error).__name__} in {command}: {first}; the traceback is in "
        f"{file.name}"
    )


def _complain(message, code=EXIT_INPUT):
    print(f"bertgrow: {' '.join(message.split())}", file=sys.stderr)
    return code
