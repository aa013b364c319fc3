"""Length growth: the same weights read more positions."""

from bertgrow import contracts, errors, tree
from bertgrow.growth import named

SOURCE = "Gu et al. (2021), section 3, input length"


def unpool(old, new, fresh=None):
    """Removes the pooling of the input. Weights stay, but they now see other inputs.

    The dense layer that merged pooled neighbours (pooling by concatenation) has nothing
    left to read and is dropped: every module that holds a weight with a `pool` axis.
    """
    before, after = old["pool"], new["pool"]
    if after > before:
        raise errors.InputError(
            f"growth: pool rises from {before} to {after}; a later stage pools at most "
            f"{before} neighbours: change pool of one of the two stages"
        )
    changes = {} if after == before else {"pool": (before, after)}

    def drop(params, axes):
        named.map_leaves(lambda leaf, names, path: leaf, params, axes)
        return (_drop_pooling(params, axes, after), _drop_pooling(axes, axes, after))

    return contracts.Growth(
        name="unpool",
        dimension="length",
        claim="no" if changes else "exact",
        changes=changes,
        weights=drop if changes else keep,
        gradients=None if changes else keep,
        copies=drop if changes else keep,
        describe=f"pool {before} -> {after}",
        source=SOURCE,
    )


def lengthen(old, new, fresh=None):
    """Longer rows with the same weights: rows of the old length give the same outputs.

    Positions beyond the old length have never been trained.
    """
    before, after = old["length"], new["length"]
    if after < before:
        raise errors.InputError(
            f"growth: length falls from {before} to {after}; a later stage needs at least "
            f"{before}: change length of one of the two stages"
        )
    if after > new.get("positions", after):
        raise errors.InputError(
            f"growth: length {after} is above the position table of {new['positions']} rows; "
            f"set length to at most {new['positions']}, or max_length to at least {after}"
        )
    return contracts.Growth(
        name="lengthen",
        dimension="length",
        claim="exact",
        changes={} if after == before else {"length": (before, after)},
        weights=keep,
        gradients=keep,
        copies=keep,
        describe=f"length {before} -> {after}",
        source=SOURCE,
    )


def keep(params, axes):
    """Every leaf as it is, but only if growth knows what it is."""
    return named.map_leaves(lambda leaf, names, path: leaf, params, axes), axes


def _drop_pooling(nodes, axes, after, path=()):
    """`nodes` without the modules in which a leaf of `axes` has a `pool` axis."""
    if tree.is_spec(axes):
        return nodes
    kept = {}
    for name, child in axes.items():
        leaves = [spec for spec in child.values() if tree.is_spec(spec)] if _is_dict(child) else []
        if any(tree.base(axis) == "pool" for spec in leaves for axis in spec):
            if after > 1:
                raise errors.InputError(
                    f"growth: {'/'.join((*path, name))} merges pooled neighbours and cannot go "
                    f"to pool {after}: set pool to 1 in the later stage, or pool_mode to mean"
                )
            continue
        kept[name] = _drop_pooling(nodes[name], child, after, (*path, name))
    return kept


def _is_dict(node):
    return isinstance(node, dict)
