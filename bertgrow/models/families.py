"""Finds installed model families by entry point name."""

import math
from importlib.metadata import entry_points

import jax

from bertgrow.core.errors import InputError


def find(name):
    """Loads the `Family` called `name`; raises InputError if it is not installed."""
    if name not in names():
        raise InputError(
            f"config.model.family is {name!r}; installed families: {', '.join(names())}"
        )
    return next(iter(entry_points(group="bertgrow.families", name=name))).load()


def names():
    """Names of the installed families, sorted."""
    return sorted({point.name for point in entry_points(group="bertgrow.families")})


def shape(family, model):
    """Sizes of a model of any family, for tables of stages."""
    sizes = family.sizes(model)
    axes = dict(layers="layers", width="embed", heads="heads", ffn_width="mlp")
    columns = {column: sizes[axis] for column, axis in axes.items()}
    return columns | dict(pool=sizes.get("pool", 1))


def parameters(family, model):
    """Returns {module: number of parameters} of a model."""
    shapes = jax.eval_shape(family.network(model).init, jax.random.key(0))
    return {
        name: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(leaves))
        for name, leaves in shapes.items()
    }
