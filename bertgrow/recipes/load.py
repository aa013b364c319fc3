"""Reads `--config RECIPE[:VARIANT]` and `--config.field=value` into a ConfigDict."""

import contextlib
import sys
from unittest import mock

from absl import flags
from ml_collections import config_flags

from bertgrow.errors import InputError
from bertgrow.recipes import installed


def add_argument(parser):
    """Adds `--config` to the arguments of a command."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="RECIPE[:VARIANT]",
        help="a recipe: its name in this package, or a Python file",
    )


def read(path, overrides):
    """Loads the recipe `path` and lays the command line's `overrides` over it.

    Args:
      path: `bert_base_grow` or `bert_base_grow:smoke`, a recipe of this package by its name,
        or `my_recipe.py` and `my_recipe.py:smoke`, a file.
      overrides: what argparse left over, e.g. ["--config.optimizer.clip=0.5"].

    Raises:
      InputError: no such recipe, an error inside it, an unknown flag, field or value.
    """
    file, path = installed.locate(path)
    for given in overrides:
        if not given.startswith("--config."):
            raise InputError(
                f"unknown argument {given!r}; fields are set by --config.NAME=VALUE"
            )
    argv = ["bertgrow", f"--config={path}", *overrides]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    # ml_collections looks for overrides in sys.argv, whatever it is given to parse.
    with mock.patch.object(sys, "argv", argv), _as_input_errors(file):
        values(argv)
        return values.config


@contextlib.contextmanager
def _as_input_errors(file):
    try:
        yield
    except InputError:
        raise
    except (AttributeError, KeyError, IndexError) as error:
        raise InputError(f"--config: no such field: {_one_line(error)}") from error
    except flags.Error as error:
        raise InputError(str(error)) from error
    except Exception as error:  # the recipe is the user's code: anything can come out of it
        raise InputError(f"{file}: {type(error).__name__}: {error}") from error


def _one_line(error):
    return " ".join(str(error.args[0]).replace("\\n", " ").split()).strip("'\"")
