"""Lists the fields of a recipe, for docs/recipes.md and `--help-config`.

python -m bertgrow.recipes.describe > docs/recipes.md
"""

import inspect
import textwrap
from typing import NamedTuple

from bertgrow.core import fields
from bertgrow.models import families
from bertgrow.objectives import stages
from bertgrow.recipes import installed, optimization, schema

HEAD = """\
# Fields of a recipe

Written by `python -m bertgrow.recipes.describe > docs/recipes.md` from the dataclasses that
hold the defaults; a test keeps it up to date. `bertgrow pretrain --help-config` prints it too.

A recipe is a Python file with a function `get_config(variant="")`. `--config NAME[:VARIANT]`
takes one of this package by its name, `--config FILE.py[:VARIANT]` one of your own: copy a file
of [configs/](../configs) and change it. The command line sets a field by its path, as in
`--config.schedule.peak=2e-4` or `--config.stages[0].steps=1000`. This includes the fields of a
stage that the recipe sets for all stages: `--config.stages[0].masking.rate=0.3`.

"""
STAGE = """\
Stages, in order. A stage may also have `batch`, `length`, `optimizer`, `schedule` and every
field of `config.model`, in place of the recipe's, and `grow=dict(...)` with fields of
`config.growth`."""
KINDS = {bool: "True or False", int: "integer", float: "number", str: "text"}
NAME_WIDTH, DEFAULT_WIDTH = 20, 14  # columns of the text


class Section(NamedTuple):
    """Fields with a common path."""

    title: str  # "config.masking"
    about: str
    options: tuple


def sections(family):
    """Returns the `Section`s of a recipe with models of a family.

    Args:
      family: name of the family, e.g. "bert".
    """
    definition = families.find(family)
    staged = fields.options(schema.StageConfig)
    task = staged["task"]._replace(choices=(*stages.OBJECTIVES, *definition.objectives))
    top = [*fields.options(schema.RunConfig).values(), *(staged[n] for n in schema.STAGED)]
    stage = [each for name, each in staged.items() if name not in (*schema.STAGED, "task")]
    return [
        Section("config", "The run as a whole.", tuple(top)),
        of_class(f"config.model, family {family!r}", definition.config),
        *(of_class(f"config.{name}", cls) for name, cls in schema.SECTIONS.items()),
        *_choices(),
        Section("config.stages[i]", STAGE, (*stage, task)),
        *own_sections(definition),
    ]


def own_sections(family):
    """Returns the `Section`s that only recipes of this `Family` have."""
    return [of_class(f"config.{name}", cls) for name, cls in family.sections.items()]


def of_class(path, cls):
    """Makes the `Section` of a dataclass; the first paragraph of its docstring describes it."""
    about = inspect.getdoc(cls).partition("\n\n")[0]
    return Section(path, about, tuple(fields.options(cls).values()))


def page():
    """Text of docs/recipes.md: BERT recipes, then the extra fields of other families."""
    names = ", ".join(f"`{name}`" for name in installed.names())
    names = textwrap.fill(f"Recipes of this package: {names}.", 95) + "\n"
    listed = sections("bert")
    for name in families.names():
        if name != "bert":
            family = families.find(name)
            listed += [of_class(f"config.model, family {name!r}", family.config)]
            listed += own_sections(family)
    return "\n".join([HEAD + names, *(_markdown(section) for section in listed)])


def text(family, width):
    """Text of `--help-config` for one family, in lines of at most `width` columns."""
    return "\n\n".join(_text(each, width) for each in sections(family))


def _choices():
    return [
        of_class(f"config.{kind}, name {name!r}", cls)
        for kind, classes in optimization.CHOICES.items()
        for name, cls in classes.items()
    ]


def _default(known):
    return "" if known.default is fields.REQUIRED else repr(known.default)


def _allowed(known):
    """Allowed values of a field, in short: `integer >= 1`, `mean, max, concat`."""
    if known.choices:
        return ", ".join(known.choices) + (", or a dict by dimension" if known.keys else "")
    limits = {">=": known.minimum, ">": known.above, "<=": known.maximum, "<": known.below}
    words = [f"{sign} {limit:g}" for sign, limit in limits.items() if limit is not None]
    return f"{KINDS[known.type]} {' and '.join(words)}".rstrip()


def _sentence(known):
    """Description of a field, e.g. `updates of the stage [integer >= 1, steps]`."""
    return f"{known.meaning} [{', '.join(filter(None, (_allowed(known), known.unit)))}]"


def _markdown(section):
    rows = ["| field | default | values | unit | meaning |", "|---|---|---|---|---|"]
    for known in section.options:
        default = f"`{_default(known)}`" if _default(known) else "required"
        cells = (f"`{known.name}`", default, _allowed(known), known.unit, known.meaning)
        rows.append(f"| {' | '.join(cells)} |")
    return f"## {section.title}\n\n{section.about}\n\n" + "\n".join(rows) + "\n"


def _text(section, width):
    about = " ".join(section.about.split())
    lines = [
        section.title,
        *textwrap.wrap(about, width - 2, initial_indent="  ", subsequent_indent="  "),
    ]
    indent = " " * (NAME_WIDTH + DEFAULT_WIDTH)
    for known in section.options:
        head = (
            f"  {known.name:<{NAME_WIDTH - 2}}{_default(known) or 'required':<{DEFAULT_WIDTH}}"
        )
        body = textwrap.wrap(_sentence(known), width - len(indent))
        lines += [head + body[0], *(indent + line for line in body[1:])]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
