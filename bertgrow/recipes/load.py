"""Loads `--config RECIPE[:VARIANT]` and `--config.field=value` into a ConfigDict."""

import contextlib
import difflib

import ml_collections
from absl import flags
from ml_collections import config_flags
from ml_collections.config_flags import config_path

from bertgrow.core.errors import InputError
from bertgrow.recipes import installed


def add_argument(parser):
    """Adds `--config` to the arguments of a command."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="RECIPE[:VARIANT]",
        help="a recipe: its name in this package, or a Python file",
    )


EXPECTED = {  # type of the recipe's value -> allowed text on the command line
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a list in brackets, e.g. '(1, 2)'",
    ml_collections.ConfigDict: "fields in braces; set one field as {field}.NAME=VALUE",
}


def read(path, overrides):
    """Loads a recipe and applies the overrides of the command line.

    Args:
      path: name of a recipe of this package, such as `bert_base_grow` or
        `bert_base_grow:smoke`, or a file, such as `my_recipe.py` or `my_recipe.py:smoke`.
      overrides: arguments that argparse does not know, e.g.
        ["--config.optimizer.clip=0.5"]. They are applied in this order.

    Raises:
      InputError: the recipe is missing or fails, or a flag, field or value is unknown.
    """
    file, path = installed.locate(path)
    for override in overrides:
        if not override.startswith("--config."):
            raise InputError(
                f"unknown argument {override!r}; fields are set by --config.NAME=VALUE"
            )
    with _errors_of_recipe(file):
        recipe = _parse(config_flags.DEFINE_config_file, [f"--config={path}"])
    for override in overrides:
        _set(recipe, override)
    return recipe


def _parse(define, words, **options):
    """Defines the flag `config` with `define`, parses `words` and returns its value."""
    values, argv = flags.FlagValues(), ["bertgrow", *words]
    define("config", flag_values=values, sys_argv=argv, **options)
    values(argv)
    return values.config


def _set(recipe, override):
    """Sets one field of `recipe`; InputError with the expected value if it does not fit."""
    field = override.partition("=")[0]
    expected = EXPECTED.get(_type(recipe, field), "another value").format(field=field)
    try:
        _parse(config_flags.DEFINE_config_dict, [override], config=recipe)
    except (flags.Error, TypeError, ValueError) as error:
        raise InputError(f"{override}: expected {expected}") from error


def _type(recipe, field):
    """Type of a field of the recipe; InputError if there is no such field."""
    try:
        keys = config_path.split(field.removeprefix("--"))[1:]
    except ValueError:
        raise InputError(f"{field}: expected --config.NAME=VALUE") from None
    inner, where = recipe, "config"
    for key in keys:
        if isinstance(inner, tuple | list):
            _check_index(field, inner, where, key)
            where = f"{where}[{key}]"
        elif not isinstance(inner, ml_collections.ConfigDict):
            raise InputError(f"{field}: no such field; {where} is {inner!r} and has no fields")
        elif key not in inner:
            raise InputError(f"{field}: no such field; {_nearest(key, where, inner, recipe)}")
        else:
            where = f"{where}.{key}"
        inner = inner[key]
    return type(inner)


def _check_index(field, items, where, key):
    name = where.rpartition(".")[2]
    if not isinstance(key, int):
        raise InputError(f"{field}: expected a number, e.g. --{where}[0].{key}")
    if not -len(items) <= key < len(items):
        raise InputError(f"{field}: the recipe has {len(items)} {name} (0 to {len(items) - 1})")


def _nearest(key, where, section, recipe):
    """Suggests a field similar to `key`: first of the same section, then of the recipe."""
    beside = difflib.get_close_matches(str(key), section, n=1)
    if beside:
        return f"nearest: {where}.{beside[0]}"
    names = {name.rpartition(".")[2]: name for name in _names(recipe, "config")}
    if close := difflib.get_close_matches(str(key), names, n=1):
        return f"nearest: {names[close[0]]}"
    return f"{where} has {', '.join(sorted(section))}"


def _names(section, where):
    """Yields dotted names of all fields of a recipe outside lists, sections included."""
    for key, value in section.items():
        yield f"{where}.{key}"
        if isinstance(value, ml_collections.ConfigDict):
            yield from _names(value, f"{where}.{key}")


@contextlib.contextmanager
def _errors_of_recipe(file):
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a recipe is code of the user and may raise any exception
        raise InputError(f"{file}: {type(error).__name__}: {error}") from error
