"""Loads `--config RECIPE[:VARIANT]` and `--config.field=value` into a ConfigDict."""

import contextlib
import difflib

import ml_collections
from absl import flags
from ml_collections import config_flags
from ml_collections.config_flags import config_path

from bertgrow.core import fields
from bertgrow.core.errors import InputError
from bertgrow.recipes import installed, optimization, schema


def add_argument(parser):
    """Adds `--config` to the arguments of a command."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="RECIPE[:VARIANT]",
        help="recipe: a name from this package, or a Python file",
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
    if not isinstance(recipe, ml_collections.ConfigDict):
        raise InputError(
            f"{file}: get_config returned {type(recipe).__name__}, expected a ConfigDict; "
            "start from recipe.pretraining()"
        )
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
    expected = EXPECTED.get(type(_find(recipe, field)), "another value").format(field=field)
    try:
        _parse(config_flags.DEFINE_config_dict, [override], config=recipe)
    except (flags.Error, TypeError, ValueError) as error:
        raise InputError(f"{override}: expected {expected}") from error


def _find(recipe, field):
    """Returns the value of a field; adds an optional field of a stage that has no value yet.

    Raises:
      InputError: there is no such field.
    """
    try:
        keys = config_path.split(field.removeprefix("--"))[1:]
    except ValueError:
        raise InputError(f"{field}: expected --config.NAME=VALUE") from None
    value, name, optional = recipe, "config", {}
    for key in keys:
        if isinstance(value, tuple | list):
            _check_index(field, value, name, key)
            optional = _optional(recipe) if name == "config.stages" else {}
            value, name = value[key], f"{name}[{key}]"
            continue
        if not isinstance(value, ml_collections.ConfigDict):
            raise InputError(f"{field}: no such field; {name} is {value!r} and has no fields")
        if key not in value:
            if key not in optional:
                known = sorted({*value, *optional})
                raise InputError(
                    f"{field}: no such field; {_nearest(key, name, known, recipe)}"
                )
            with value.unlocked():
                value[key] = _initial(key, optional[key])
        optional = optional.get(key, {})
        optional = optional if isinstance(optional, ml_collections.ConfigDict) else {}
        value, name = value[key], f"{name}.{key}"
    return value


def _optional(recipe):
    """Returns {name: value} of the fields that a stage may set, with the recipe's values."""
    task = fields.options(schema.StageConfig)["task"].default
    values = {
        name: value for name, value in recipe.get("model", {}).items() if name != "family"
    }
    sources = {
        name: name for name in (*schema.STAGED, *optimization.CHOICES)
    } | schema.OVERRIDES
    values |= {name: recipe[source] for name, source in sources.items() if source in recipe}
    return values | dict(task=task)


def _initial(name, value):
    """Value of a field of a stage before the override.

    A section of `schema.OVERRIDES` starts empty, since a stage sets some of its fields only. An
    optimizer or a schedule starts as a copy of the recipe's.
    """
    if name in schema.OVERRIDES:
        return ml_collections.ConfigDict()
    if isinstance(value, ml_collections.ConfigDict):
        return ml_collections.ConfigDict(value.to_dict())
    return value


def _check_index(field, items, name, index):
    if not isinstance(index, int):
        raise InputError(f"{field}: expected a number, e.g. --{name}[0].{index}")
    if not -len(items) <= index < len(items):
        kind, last = name.rpartition(".")[2], len(items) - 1
        raise InputError(f"{field}: the recipe has {len(items)} {kind} (0 to {last})")


def _nearest(key, section, known, recipe):
    """Suggests a field similar to `key`: first of the same section, then of the recipe."""
    matches = difflib.get_close_matches(str(key), known, n=1)
    if matches:
        return f"nearest: {section}.{matches[0]}"
    names = {name.rpartition(".")[2]: name for name in _names(recipe, "config")}
    if close := difflib.get_close_matches(str(key), names, n=1):
        return f"nearest: {names[close[0]]}"
    return f"{section} has {', '.join(known)}"


def _names(section, path):
    """Yields dotted names of all fields of a recipe outside lists, sections included."""
    for key, value in section.items():
        yield f"{path}.{key}"
        if isinstance(value, ml_collections.ConfigDict):
            yield from _names(value, f"{path}.{key}")


@contextlib.contextmanager
def _errors_of_recipe(file):
    try:
        yield
    except InputError:
        raise
    except BaseException as error:  # code of the user, which may also call exit()
        # ml_collections gives the traceback of `get_config`, whose last line is the error.
        reason = f"{type(error).__name__}: {error}".strip()
        if "Traceback" in reason:
            reason = reason.splitlines()[-1]
        raise InputError(f"{file}: {reason}") from error
