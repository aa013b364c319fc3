"""Layout of a train state in a checkpoint: named parts of plain arrays."""

import jax

from bertgrow.core import tree
from bertgrow.core.types import TrainState


def parts(target):
    """Returns the names of the parts of a `TrainState`, or of a dict of some parts."""
    return TrainState._fields if isinstance(target, TrainState) else list(target)


def plain(state):
    """Replaces the key by its raw data, because our Orbax type handlers do not support keys.

    Args:
      state: TrainState of arrays, or of `jax.ShapeDtypeStruct` with shardings.
    """
    if isinstance(state.key, jax.Array):
        return state._replace(key=jax.random.key_data(state.key))
    numbers = jax.eval_shape(jax.random.key_data, state.key)
    where = state.key.sharding
    return state._replace(
        key=jax.ShapeDtypeStruct(numbers.shape, numbers.dtype, sharding=where)
    )


def table(shapes):
    """Returns {path: "float32 [2, 3]"} for a tree of arrays or shapes."""
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    return {tree.path_name(path): f"{x.dtype} {list(x.shape)}" for path, x in leaves}
