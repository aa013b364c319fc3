"""Grows the moments in the state of any optimiser.

Moments are the trees with the structure of the parameters. For an exact growth by index and
fraction (see `operators/width.py`), the grown model's gradients are the dual map of the old
gradients (swap `name` and `name_in`). A statistic that is linear in the gradients follows
this map. A mean of squared gradients follows it through its square root:
nu' = dual(sqrt(nu))^2.
"""

import jax
import jax.numpy as jnp
import optax

from bertgrow.core import errors, tree
from bertgrow.growth import named_tree

KINDS = {
    "mu": "linear",  # Adam, LAMB, Lion
    "trace": "linear",  # momentum
    "acc_grads": "linear",  # optax.MultiSteps
    "nu": "square",  # Adam, LAMB, RMSProp
    "sum_of_squares": "square",  # Adagrad
}

# Fields that hold weights, and so grow as weights do under every moments policy: the running
# average of weights, and the iterate of optax.contrib.schedule_free.
WEIGHTS = ("ema", "z")


def carry(old, fresh, params, axes, *, maps, weights, is_exact, counts):
    """Fills `fresh`, a new optimiser state, with the grown statistics of `old`.

    A tree holds moments or weights if the paths of its leaves end in the paths of parameters,
    as in `[0].mu["layers"]["up"]["kernel"]`. It may lack some of them (a masked optimiser).

    Args:
      old: the trained optimiser state.
      fresh: `init(grown parameters)` of the same optimiser.
      params: the old parameters.
      axes: their axis names.
      maps: functions `(tree, axes) -> (tree, axes)`, applied in turn to the moments; None:
        moments are reset.
      weights: the maps of the parameters themselves, for averages of them.
      is_exact: whether the maps are exact, so that the kind of each tree matters.
      counts: "keep" or "reset" leaves that belong to no parameter.

    Returns:
      An optimiser state with the structure of `fresh`.
    """
    params_by_path = dict(jax.tree_util.tree_leaves_with_path(params))
    is_weights = _weight_trees(old)

    def is_carried(tree_path):
        return maps is not None or is_weights(tree_path)

    trees, others = _split(old, params_by_path, is_carried)
    grown = {}
    for tree_path, leaves in trees.items():
        tree_maps = weights if is_weights(tree_path) else maps
        kind = _kind(tree_path) if is_exact and tree_maps is maps else "linear"
        grown[tree_path] = _grow(leaves, params_by_path, params, axes, tree_maps, kind)

    def at_leaf(path, leaf):
        tree_path, param_path = _cut(path, params_by_path)
        if param_path is None:
            count = others.get(path) if counts == "keep" else None
            return leaf if count is None or count.shape != leaf.shape else count
        if not is_carried(tree_path):
            return leaf
        if param_path not in trees.get(tree_path, {}):
            raise errors.InputError(
                f"growth: the earlier optimiser has no {tree.path_name(path)}; moments carry "
                "over only between equal optimisers: set moments to 'reset'"
            )
        return grown[tree_path][param_path]

    return jax.tree_util.tree_map_with_path(at_leaf, fresh)


def _split(state, params_by_path, is_carried):
    """Splits a state: {tree path: {parameter path: leaf}} of carried trees, {path: others}."""
    trees, others = {}, {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        tree_path, param_path = _cut(path, params_by_path)
        if param_path is None:
            others[path] = leaf
        elif is_carried(tree_path):
            _check_shape(path, leaf, params_by_path[param_path])
            trees.setdefault(tree_path, {})[param_path] = leaf
    return trees, others


def asymmetric(growth):
    """Like `growth.copies`, but statistics of new units and layers start at zero.

    SPARKLING (Yu et al., 2026) breaks the symmetry of copies by it. An entry counts as new if
    any of its units is new; the statistics of other entries are kept.
    """

    def grow_map(params, axes):
        params, axes = growth.copies(params, axes)

        def at_leaf(leaf, names, path):
            for dim, name in enumerate(names):
                if tree.base(name) in growth.sources:
                    old = ~named_tree.is_new(growth.sources[tree.base(name)])
                    leaf = leaf * named_tree.along(jnp.asarray(old, leaf.dtype), dim, leaf)
            return leaf

        return named_tree.map_leaves(at_leaf, params, axes), axes

    return grow_map


def _cut(path, params_by_path):
    """Splits `path` into (path of a tree, path of a parameter), or (path, None)."""
    for start in range(len(path)):
        if path[start:] in params_by_path:
            return path[:start], path[start:]
    return path, None


def norms(opt_state, params):
    """Returns the norm of every tree of moments or weights by its path, {"mu": norm, ...}."""
    params_by_path = dict(jax.tree_util.tree_leaves_with_path(params))
    squares = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(opt_state):
        tree_path, param_path = _cut(path, params_by_path)
        if param_path is not None:
            square = jnp.sum(jnp.square(leaf.astype(jnp.float32)))
            name = tree.path_name(tree_path)
            squares[name] = squares.get(name, 0.0) + square
    return {name: jnp.sqrt(square) for name, square in squares.items()}


def _weight_trees(state):
    """Returns a function of a path: whether the tree there holds weights.

    `optax.ema` averages updates, not weights.
    """

    def averages_updates(node):
        return isinstance(node, optax.EmaState)

    nodes = jax.tree_util.tree_leaves_with_path(state, is_leaf=averages_updates)
    averages = {path for path, node in nodes if averages_updates(node)}
    return lambda path: path[:-1] not in averages and tree.path_name(path[-1:]) in WEIGHTS


def _kind(tree_path):
    """Whether the tree at this path is "linear" or "square" in the gradients."""
    kind = KINDS.get(tree.path_name(tree_path[-1:]))
    if kind is None:
        raise errors.InputError(
            f"growth: moments 'exact' has no rule for {tree.path_name(tree_path)} of the "
            f"optimiser; expected one of {', '.join(KINDS)}: set moments to 'copy' "
            "or 'reset'"
        )
    return kind


def _grow(leaves, params_by_path, params, axes, maps, kind):
    """Applies all maps to one tree of moments; returns {path of the parameter: leaf}."""
    filled = [leaves.get(path, jnp.zeros_like(leaf)) for path, leaf in params_by_path.items()]
    moments = jax.tree.unflatten(jax.tree.structure(params), filled)
    if kind == "square":
        moments = jax.tree.map(jnp.sqrt, moments)
    for grow_map in maps:
        moments, axes = grow_map(moments, axes)
    if kind == "square":
        moments = jax.tree.map(jnp.square, moments)
    return dict(jax.tree_util.tree_leaves_with_path(moments))


def _check_shape(path, leaf, param):
    if leaf.shape != param.shape:
        raise errors.InputError(
            f"growth: {tree.path_name(path)} of the optimiser has shape {leaf.shape} where its "
            f"parameter has {param.shape}; moments of another shape cannot grow: set moments "
            "to 'reset'"
        )
