"""Learned linear growth (LiGO; Wang et al., 2023): large weights as linear maps of small ones.

Every weight of the large model is `B (sum_j w_j W_j) A^T` of the small model's layers W_j. The
maps are trained on the loss of the large model for some hundred steps. The small weights stay
frozen in `Task.frozen`. Then `merge` computes the large weights, and the maps are discarded.

All weights share the maps of an axis, as they share the embedding map in the paper. Each dense
layer and norm has its own mix of layers. This differs from the paper in two points. The paper
has separate maps for queries, keys and values; here they share one map of whole heads. The
paper uses the transpose of the outgoing map if a weight sums over an axis; here the summed side
has its own map, so that widening is exact at the start at whole ratios.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors, tree, types
from bertgrow.growth import named_tree

WIDTH = ("embed", "heads", "mlp")
NOISE = 0.03  # from the released code, where it is added to the mix of layers


def task(base, axes, old, new):
    """Builds the task of a learned-growth stage: trains the maps on the large model's loss.

    Args:
      base: Task of the large model.
      axes: axis names of the small model's parameters, which `frozen` must hold.
      old: {axis: size} of the small model.
      new: {axis: size} of the large model.
    """

    def loss(operator, frozen, inputs, keys, step):
        return base.loss(merge(operator, frozen, axes), (), inputs, keys, step)

    def evaluate(operator, frozen, batch):
        return base.evaluate(merge(operator, frozen, axes), (), batch)

    return types.Task(
        init=lambda key: init(key, axes, old, new),
        prepare=base.prepare,
        loss=loss,
        evaluate=evaluate,
        axes=operator_axes(axes, old, new),
    )


def init(key, axes, old, new, *, noise=NOISE):
    """Initialises the maps: units copied beside their original, stacked layers, plus noise.

    Args:
      key: random key.
      axes: axis names of the small model's parameters.
      old: {axis: size} of the small model.
      new: {axis: size} of the large model.
      noise: norm of the noise added to a row of a map, relative to the norm of the row.

    Returns:
      {"width": {axis: {"out": [new, old], "in": [new, old]}}, "depth": {module: [new, old]}},
      with only the axes that change. The rows of "in" hold the fraction of each copy.
    """

    def at_leaf(path, names):
        side, axis = path[-1].key, tree.base(names[0])
        before, after = old[axis], new[axis]
        if axis == "layers":
            index = np.arange(after) % before
        else:
            index = np.arange(after) * before // after
        matrix = np.eye(before, dtype=np.float32)[index]
        if side == "in":
            matrix = matrix / np.bincount(index, minlength=before)[index][:, None]
        scale = noise / np.sqrt(before) * np.linalg.norm(matrix, axis=1, keepdims=True)
        key_number = key_numbers[tree.path_name(path)]
        draw = jax.random.normal(jax.random.fold_in(key, key_number), matrix.shape)
        return matrix + scale.astype(np.float32) * draw

    specs = operator_axes(axes, old, new)
    key_numbers = {
        path: i for i, path in enumerate(named_tree.by_path(specs, is_leaf=tree.is_spec))
    }
    return jax.tree_util.tree_map_with_path(at_leaf, specs, is_leaf=tree.is_spec)


def operator_axes(axes, old, new):
    """Axis names of the maps in the structure of `init`.

    Raises `InputError` if LiGO cannot grow one size table into the other.
    """
    changed = [axis for axis in old if old[axis] != new.get(axis, old[axis])]
    for axis in changed:
        if axis not in (*WIDTH, "layers") or new[axis] < old[axis]:
            raise errors.InputError(
                f"growth: ligo cannot take {axis} from {old[axis]} to {new[axis]}; it enlarges "
                "width, heads, ffn_width and num_layers: change others in a separate stage"
            )
    if not changed:
        raise errors.InputError(
            "growth: a stage that learns 'ligo' has the sizes of the stage before; set the "
            "sizes of the larger model in it"
        )
    sides = {
        axis: {side: jax.P(axis, f"{axis}_in") for side in ("out", "in")}
        for axis in WIDTH
        if axis in changed
    }
    modules = {}
    if "layers" in changed:
        for path, names in named_tree.by_path(axes, is_leaf=tree.is_spec).items():
            if "layers" in names:
                modules[_module(path)] = jax.P("layers", "layers_in")
    return {"width": sides, "depth": modules}


def merge(operator, small, axes):
    """Computes the large model's parameters.

    Args:
      operator: the maps, in the structure of `init`.
      small: the small model's parameters.
      axes: their axis names, and those of the result.
    """

    def at_leaf(leaf, names, path):
        for dim, name in enumerate(names):
            matrix = _map_of(operator, name, path)
            if matrix is not None:
                leaf = jnp.tensordot(matrix, leaf, axes=(1, dim), precision="highest")
                leaf = jnp.moveaxis(leaf, 0, dim)
        return leaf

    return named_tree.map_leaves(at_leaf, small, axes)


def flops(operator, small, axes):
    """FLOPs of one merge, from shapes. Its backward pass takes twice as many."""
    total = 0

    def at_leaf(leaf, names, path):
        nonlocal total
        shape = list(leaf.shape)
        for dim, name in enumerate(names):
            matrix = _map_of(operator, name, path)
            if matrix is not None:
                shape[dim], before = matrix.shape
                total += 2 * before * int(np.prod(shape))
        return leaf

    named_tree.map_leaves(at_leaf, small, axes)
    return total


def _map_of(operator, name, path):
    """The map of one axis of one weight, or None if the axis does not grow."""
    if name == "layers":
        return operator["depth"].get(_module(path))
    sides = operator["width"].get(tree.base(name))
    return sides and sides["in" if name.endswith("_in") else "out"]


def _module(path):
    """`layers.query` for `layers/query/kernel`: a kernel and its bias share one mix."""
    return path.rpartition("/")[0].replace("/", ".")
