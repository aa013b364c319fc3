"""How a state lies in a checkpoint: its parts, as plain arrays, by name."""

import jax

from bertgrow.core import tree
from bertgrow.core.types import TrainState


def parts(target):
    """Names of the parts of a `TrainState`, or of a dict of some of them."""
    return TrainState._fields if isinstance(target, TrainState) else list(target)


def plain(state):
    """The state with the numbers of its key: only Orbax's own registry knows keys.

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
    """{path: "float32 [2, 3]"} of a tree of arrays, or of their shapes."""
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    return {tree.path_name(path): f"{x.dtype} {list(x.shape)}" for path, x in leaves}
