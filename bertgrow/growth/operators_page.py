"""Writes docs/operators.md from the registry: `python -m bertgrow.growth.operators_page`."""

import inspect

from bertgrow.growth import between

# Sizes that every operator of a dimension accepts, to read from it what it promises.
EXAMPLES = {
    "width": (dict(mlp=64, heads=4, embed=32), dict(mlp=128, heads=8, embed=64)),
    "depth": (dict(layers=2), dict(layers=4)),
    "length": (dict(pool=2, length=16), dict(pool=1, length=32)),
}
FOR_ONE = {  # where an operator does not accept them
    ("width", "msg"): (dict(mlp=64, heads=4), dict(mlp=128, heads=8)),
    ("depth", "msg"): (dict(layers=2), dict(layers=4, norm_order="pre")),
}
AXES = {
    "unpool": "pool", "lengthen": "length",
    "equal": "mlp, heads at any ratio; embed at whole ratios",
    "uneven": "mlp, heads at any ratio; embed at whole ratios",
    ("width", "msg"): "mlp, heads at any ratio",
}  # fmt: skip
HEAD = """\
# Growth operators

Written from the registry by `python -m bertgrow.growth.operators_page > docs/operators.md`; a
test holds it up to date. docs/growth.md tells why and when.

A recipe names them by dimension: `config.growth.width = "fpi"`, or for one stage
`dict(steps=..., grow=dict(width="fpi", depth="interleave"))`. Length needs no name.

| dimension | name | grows | claim | exact moments | needs moments | source |
|---|---|---|---|---|---|---|
"""


def page():
    """The page as Markdown."""
    operators = [
        (dimension, name, make)
        for dimension, makers in between.OPERATORS.items()
        for name, make in makers.items()
    ]
    rows = [_row(*operator) for operator in operators]
    sections = [_section(*operator) for operator in operators]
    return HEAD + "\n".join(rows) + "\n\n" + "\n\n".join(sections) + "\n"


def _row(dimension, name, make):
    growth = make(*FOR_ONE.get((dimension, name), EXAMPLES[dimension]), dict)
    exact = "yes" if growth.gradients else "no"
    if name == "uneven":
        exact = "unless embed grows"
    grows = (
        AXES.get(name)
        or AXES.get((dimension, name))
        or ", ".join(growth.changes) + (" at whole ratios" if dimension == "width" else "")
    )
    cells = (dimension, f"`{name}`", grows, growth.claim, exact, growth.needs or "any")
    return "| " + " | ".join((*cells, growth.source)) + " |"


def _section(dimension, name, make):
    """The docstring up to its arguments, and what it does to the example."""
    growth = make(*FOR_ONE.get((dimension, name), EXAMPLES[dimension]), dict)
    story = inspect.getdoc(make).partition("\nArgs:")[0].strip()
    return (
        f"## {dimension}: `{name}`\n\n{story}\n\nAs a certificate tells it: {growth.describe}."
    )


if __name__ == "__main__":
    print(page(), end="")
