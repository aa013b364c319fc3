"""Writes docs/operators.md from the registry: `python -m bertgrow.growth.operators_page`."""

import inspect

from bertgrow.growth import registry
from bertgrow.growth.operators import copies

# Example sizes that the operators of a dimension accept, to build a `Growth` of each.
EXAMPLES = {
    "width": (
        dict(mlp=64, heads=4, embed=32, rank=16, light=2),
        dict(mlp=128, heads=8, embed=64, rank=0, light=0),
    ),
    "depth": (dict(layers=4), dict(layers=6)),
    "length": (
        dict(pool=2, positions=16, length=16),
        dict(pool=1, positions=32, length=32),
    ),
}
RATIOS = {
    "whole": "{} at whole ratios",
    "any": "{} at any ratio",
    "whole embed": "mlp, heads at any ratio; embed at whole ratios",
}
FOR_ONE = {  # for operators that do not accept `EXAMPLES`
    ("width", "msg"): (dict(mlp=64, heads=4), dict(mlp=128, heads=8)),
    ("depth", "msg"): (dict(layers=2), dict(layers=4, norm_order="pre")),
}
HEAD = """\
# Growth operators

Written from the registry by `python -m bertgrow.growth.operators_page > docs/operators.md`; a
test compares the two. docs/growth.md explains when to use which.

A recipe names them by dimension: `config.growth.width = "fpi"`, or for one stage
`dict(steps=..., grow=dict(width="fpi", depth="interleave"))`. Operators that remove a low-cost
form of the model are selected automatically and have no setting. If an operator does not
support the sizes of two stages, the command stops before the run and names the field to change.

| dimension | name | grows | small model | claim | exact moments | needs moments | source |
|---|---|---|---|---|---|---|---|
"""


def page():
    """Returns the page as Markdown."""
    operators = [
        (dimension, name, make)
        for dimension, makers in registry.OPERATORS.items()
        for name, make in makers.items()
    ]
    rows = [_row(*operator) for operator in operators]
    sections = [_section(*operator) for operator in operators]
    return HEAD + "\n".join(rows) + "\n\n" + "\n\n".join(sections) + "\n"


def _example(dimension, name):
    return FOR_ONE.get((dimension, name), EXAMPLES[dimension])


def _row(dimension, name, make):
    growth, rule = make(*_example(dimension, name), dict), copies.RULES.get(name)
    grows = ", ".join(growth.changes)
    if rule:
        grows = RATIOS[rule.ratios].format(grows)
    small = {"width": "narrower", "depth": "shallower"}.get(dimension)
    if growth.low_cost:
        small = f"`{growth.low_cost}`"
    claim = f"exact if {growth.exact_if}" if growth.exact_if else growth.claim
    cells = (dimension, f"`{name}`", grows, small, claim, _moments(growth, rule))
    return "| " + " | ".join((*cells, growth.needs or "any", growth.source)) + " |"


def _moments(growth, rule):
    """Condition for exact moments, in words."""
    if growth.exact_if and growth.gradients:
        return "where exact"
    if rule and rule.split == "uneven":
        return "unless embed grows"
    return "yes" if growth.gradients else "no"


def _section(dimension, name, make):
    """The operator's docstring up to its arguments, and its effect on the example."""
    growth = make(*_example(dimension, name), dict)
    text = inspect.getdoc(make).partition("\nArgs:")[0].strip()
    return f"## {dimension}: `{name}`\n\n{text}\n\nIn a certificate: {growth.describe}."


if __name__ == "__main__":
    print(page(), end="")
