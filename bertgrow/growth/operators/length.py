"""Length growth: the same weights process more positions."""

import functools

import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors, tree, types
from bertgrow.growth import named_tree

SOURCE = "Gu et al. (2021), section 3, input length"


def unpool(old, new, fresh=None, seed=0):
    """Removes the pooling of the input. Weights stay, but their inputs change.

    Drops the dense layer that merged neighbours (pooling by concatenation), i.e. every module
    that has a weight with a `pool` axis. It has no input any more.
    """
    before, after = old["pool"], new["pool"]
    if after > before:
        raise errors.InputError(
            f"growth: pool rises from {before} to {after}; a later stage pools at most "
            f"{before} neighbours: change pool of one of the two stages"
        )
    changes = {} if after == before else {"pool": (before, after)}

    def drop(params, axes):
        named_tree.keep(params, axes)
        modules = _pooling_modules(axes, after)
        return named_tree.without(params, modules), named_tree.without(axes, modules)

    return types.Growth(
        name="unpool",
        dimension="length",
        claim="no" if changes else "exact",
        changes=changes,
        weights=drop if changes else named_tree.keep,
        gradients=None if changes else named_tree.keep,
        copies=drop if changes else named_tree.keep,
        describe=f"pool {before} -> {after}",
        source=SOURCE,
        low_cost="pool",
    )


def lengthen(old, new, fresh=None, seed=0):
    """Uses longer sequences with the same weights.

    Sequences of the old length give the same outputs. Positions beyond the old length are
    untrained.
    """
    before, after = old["length"], new["length"]
    if after < before:
        raise errors.InputError(
            f"growth: length falls from {before} to {after}; a later stage needs at least "
            f"{before}: change length of one of the two stages"
        )
    if after > new.get("positions", after):
        raise errors.InputError(
            f"growth: length {after} is above max_length {new['positions']}; "
            f"set length to at most {new['positions']}, or max_length to at least {after}"
        )
    return types.Growth(
        name="lengthen",
        dimension="length",
        claim="exact",
        changes={} if after == before else {"length": (before, after)},
        weights=named_tree.keep,
        gradients=named_tree.keep,
        copies=named_tree.keep,
        describe=f"length {before} -> {after}",
        source=SOURCE,
        low_cost="length",
    )


def extend(old, new, fresh=None, seed=0):
    """Lengthens the position table by repeating the old positions.

    Longformer initialises its table so from a shorter model (Beltagy et al., 2020, section
    5). Neighbouring positions keep their relation, except at the borders between copies.
    Sequences of the old length use only the old positions: their outputs do not change, and
    they give the new positions no gradient.
    """
    before, after = old["positions"], new["positions"]
    if after < before:
        raise errors.InputError(
            f"growth: positions fall from {before} to {after}; a later stage needs at least "
            f"{before}: change max_length of one of the two stages"
        )
    changes = {} if after == before else {"positions": (before, after)}
    index = np.arange(after) % before
    grow = functools.partial(_extend, old=before, index=index)
    return types.Growth(
        name="extend",
        dimension="length",
        claim="exact",
        changes=changes,
        weights=grow,
        gradients=functools.partial(grow, is_empty=True),
        copies=grow,
        describe=f"positions {before} -> {after} (extend)",
        source="Beltagy et al. (2020), Longformer, section 5",
        sources={"positions": index} if changes else {},
        low_cost="max_length",
    )


def _extend(params, axes, *, old, index, is_empty=False):
    """Indexes the position table by `index`. With `is_empty`, copied positions are zero."""

    def at_leaf(leaf, names, path):
        if "positions" not in names:
            return leaf
        dim = names.index("positions")
        named_tree.check_size(path, "positions", leaf.shape[dim], old)
        longer = jnp.take(leaf, index, axis=dim, mode="clip")
        is_new = named_tree.along(named_tree.is_new(index), dim, longer)
        return jnp.where(is_new, 0, longer).astype(leaf.dtype) if is_empty else longer

    return named_tree.map_leaves(at_leaf, params, axes), axes


def _pooling_modules(axes, after):
    """Paths of the modules that have a weight with a `pool` axis, e.g. {"resolution"}."""
    modules = set()
    for path, spec in named_tree.by_path(axes, is_leaf=tree.is_spec).items():
        if any(tree.base(axis) == "pool" for axis in spec):
            modules.add(path.rpartition("/")[0])
    if modules and after > 1:
        raise errors.InputError(
            f"growth: {min(modules)} merges pooled neighbours and cannot go to pool {after}; "
            "set pool to 1 in the later stage, or pool_mode to mean or max in both"
        )
    return modules
