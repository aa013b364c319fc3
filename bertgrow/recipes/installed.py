"""Finds the recipes that come with the package, `configs/` of the repository, by name."""

from pathlib import Path

from bertgrow.core.errors import InputError
from bertgrow.core.fields import nearest

PACKAGE = Path(__file__).resolve().parents[1]


def folder():
    """The folder of recipes: inside an installed package, beside it in a checkout."""
    inside = PACKAGE / "configs"
    return inside if inside.is_dir() else PACKAGE.with_name("configs")


def names():
    """Names of the recipes, as `--config NAME` takes them."""
    return sorted(path.stem for path in folder().glob("*.py") if path.stem != "__init__")


def locate(given):
    """The file of `--config NAME[:VARIANT]` or `--config FILE.py[:VARIANT]`.

    Returns:
      The file, and the same with its `:VARIANT`, if any.

    Raises:
      InputError: neither a file nor the name of a recipe.
    """
    if Path(given).is_file():  # a colon may belong to the path
        return given, given
    file, colon, variant = given.partition(":")
    if Path(file).is_file():
        return file, given
    name = file.removesuffix(".py")
    if name not in names():
        raise InputError(
            f"--config names {file!r}, which is not a file, nor a recipe of this package; "
            f"{nearest(name, names())}"
        )
    file = str(folder() / f"{name}.py")
    return file, f"{file}{colon}{variant}"
