"""Finds a model family by the name that its package registered as an entry point."""

import math
from importlib.metadata import entry_points

import jax

from bertgrow.core.errors import InputError


def find(name):
    """The `Family` called `name`; an InputError that lists the installed ones otherwise."""
    if name not in names():
        raise InputError(
            f"config.model.family is {name!r}; installed families: {', '.join(names())}"
        )
    return next(iter(entry_points(group="bertgrow.families", name=name))).load()


def names():
    """The installed families, sorted."""
    return sorted({point.name for point in entry_points(group="bertgrow.families")})


def shape(family, model):
    """How large a model is, whatever its family, for the tables of stages."""
    sizes = family.sizes(model)
    columns = dict(layers="layers", width="embed", heads="heads", ffn_width="mlp")
    found = {column: sizes[axis] for column, axis in columns.items()}
    return found | dict(pool=sizes.get("pool", 1))


def parameters(family, model):
    """{module: how many parameters it has} of a model."""
    shapes = jax.eval_shape(family.network(model).init, jax.random.key(0))
    return {
        name: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(leaves))
        for name, leaves in shapes.items()
    }
