"""Finds by name the recipes of the package: `configs/` of the repository."""

from pathlib import Path

from bertgrow.core.errors import InputError
from bertgrow.core.fields import nearest

PACKAGE = Path(__file__).resolve().parents[1]


def folder():
    """Folder of the recipes: inside an installed package, next to it in a checkout."""
    inside = PACKAGE / "configs"
    return inside if inside.is_dir() else PACKAGE.with_name("configs")


def names():
    """Names of the recipes, as used in `--config NAME`."""
    return sorted(path.stem for path in folder().glob("*.py") if path.stem != "__init__")


def locate(recipe):
    """Finds the file of `--config NAME[:VARIANT]` or `--config FILE.py[:VARIANT]`.

    Returns:
      (file, file with `:VARIANT` if present).

    Raises:
      InputError: `recipe` is neither a file nor the name of a recipe.
    """
    if Path(recipe).is_file():  # a colon may be part of the path
        return recipe, recipe
    file, colon, variant = recipe.partition(":")
    if Path(file).is_file():
        return file, recipe
    name = file.removesuffix(".py")
    if name not in names():
        raise InputError(
            f"--config names {file!r}, which is not a file, nor a recipe of this package; "
            f"{nearest(name, names())}"
        )
    file = str(folder() / f"{name}.py")
    return file, f"{file}{colon}{variant}"
