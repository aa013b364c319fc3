"""Helpers for parameter trees whose leaves have named axes."""

import jax


def is_spec(node):
    return isinstance(node, jax.sharding.PartitionSpec)


def map_named(function, tree, axes):
    """Calls `function(leaf, names)` at every leaf; `names` is the tuple of its axis names."""

    def at_leaf(names, leaf):
        return function(leaf, tuple(names))

    return jax.tree.map(at_leaf, axes, tree, is_leaf=is_spec)


def base(axis):
    """Axis name without the suffix `_in`: `embed` for `embed` and for `embed_in`."""
    return axis.removesuffix("_in") if axis else axis


def sizes(tree, axes):
    """Returns {axis: size}, e.g. {"layers": 12, "embed": 768}.

    Raises ValueError if two leaves have different sizes for an axis.
    """
    table = {}

    def add(leaf, names):
        for name, size in zip(names, leaf.shape, strict=True):
            if table.setdefault(base(name), size) != size:
                raise ValueError(f"axis {base(name)} has sizes {table[base(name)]} and {size}")

    map_named(add, tree, axes)
    return table


def count(tree):
    """Number of elements in all leaves of the tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def path_name(path):
    """`layers/query/kernel` for a key path of jax.tree_util."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
