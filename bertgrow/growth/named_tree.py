"""Maps functions over trees with named axes, and checks every leaf."""

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors, tree

KNOWN = ("layers", "ffn", "vocab", "positions", "types", "table", "extra", "embed", "body")
KNOWN += ("heads", "kv", "mlp", "pool", "classes", "trigram", "rank")


def map_leaves(function, params, axes):
    """Calls `function(leaf, names, path)` at every leaf, after checking all leaves.

    Every leaf must have a spec, every spec a leaf, and every dimension a known axis name.
    Without this check, growth could silently leave an unknown weight at its old size, or copy
    it instead of dividing it. Raises InputError with the path of the leaf.
    """
    specs = by_path(axes, is_leaf=tree.is_spec)
    leaves = by_path(params)
    for path in sorted(specs.keys() ^ leaves.keys()):
        missing = "axis names" if path in leaves else "a weight"
        raise errors.InputError(
            f"growth: {path} has no {missing}; parameters and axes must have the same "
            "leaves: name its axes where the network declares it"
        )
    for path, leaf in leaves.items():
        _check_names(path, leaf, tuple(specs[path]))

    def at_leaf(path, names, leaf):
        return function(leaf, tuple(names), tree.path_name(path))

    return jax.tree_util.tree_map_with_path(at_leaf, axes, params, is_leaf=tree.is_spec)


def then(first, second):
    """Composes two maps `(tree, axes) -> (tree, axes)`; `first` is applied first."""

    def run(params, axes):
        return second(*first(params, axes))

    return run


def along(vector, dim, leaf):
    """Reshapes `vector` to broadcast against `leaf` along the dimension `dim`."""
    return jnp.expand_dims(vector, [d for d in range(leaf.ndim) if d != dim])


def keep(params, axes):
    """The identity map, after the checks of `map_leaves`."""
    return map_leaves(lambda leaf, names, path: leaf, params, axes), axes


def without(nodes, modules, path=""):
    """The nested dict `nodes` without the entries at the given paths, e.g. {"layers/up"}."""
    if not isinstance(nodes, dict):
        return nodes
    inside = {name: f"{path}/{name}".removeprefix("/") for name in nodes}
    return {
        name: without(child, modules, inside[name])
        for name, child in nodes.items()
        if inside[name] not in modules
    }


def replace(nodes, path, leaf):
    """The nested dict `nodes` with a new leaf at the path, e.g. "layers/up/kernel"."""
    name, _, rest = path.partition("/")
    return {**nodes, name: replace(nodes[name], rest, leaf) if rest else leaf}


def by_path(nodes, is_leaf=None):
    """Returns {"layers/up/kernel": leaf} of a tree, in the order of the tree."""
    pairs = jax.tree_util.tree_leaves_with_path(nodes, is_leaf=is_leaf)
    return {tree.path_name(path): leaf for path, leaf in pairs}


def is_new(index):
    """Marks new units, bool [new size]: fresh units, and all but the first copy of each unit.

    Args:
      index: int [new size], from `Growth.sources`.
    """
    first = np.unique(index, return_index=True)[1]
    return (np.asarray(index) < 0) | ~np.isin(np.arange(len(index)), first)


def check_size(path, axis, size, expected):
    """Raises `InputError` unless a weight has the size in the old model's size table."""
    if size != expected:
        raise errors.InputError(
            f"growth: axis {axis} of {path} has {size} units, but the old sizes give "
            f"{expected}; use the sizes of the model that these weights belong to"
        )


def _check_names(path, leaf, names):
    if len(names) != len(leaf.shape):
        raise errors.InputError(
            f"growth: {path} has shape {leaf.shape} and axis names {names}; "
            "give one axis name per dimension"
        )
    for name in names:
        if not isinstance(name, str) or tree.base(name) not in KNOWN:
            raise errors.InputError(
                f"growth: {path} has the axis name {name!r}, which is unknown to growth; "
                f"expected one of {' '.join(KNOWN)}, with or without _in"
            )
