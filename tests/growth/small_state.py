"""A tree of parameters with the axes that growth changes, and states of optimisers on it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import small

from bertgrow.core import tree, types
from bertgrow.growth import train_state

OLD = small.sizes()
WIDE = {**OLD, "mlp": 128}
DEEP = {**OLD, "layers": 4}
AXES = {
    "embeddings": {"words": jax.P("vocab", "embed")},
    "layers": {
        "up": {"kernel": jax.P("layers", "embed_in", "mlp"), "bias": jax.P("layers", "mlp")},
        "down": {"kernel": jax.P("layers", "mlp_in", "embed")},
    },
    "pooler": {"bias": jax.P("embed")},
}


def params(axes=AXES, **sizes):
    """Random parameters of the sizes `OLD`, some of them changed."""
    random = np.random.default_rng(0)

    def at_leaf(names):
        return random.standard_normal(
            [{**OLD, **sizes}[tree.base(name)] for name in names], "f4"
        )

    return jax.tree.map(at_leaf, axes, is_leaf=tree.is_spec)


def start(optimizer, axes=AXES, step=3, **sizes):
    """A state whose moments are all different from zero and from each other."""
    weights = params(axes, **sizes)
    shapes = jax.eval_shape(optimizer.init, weights)
    filled = [
        np.full(leaf.shape, step, leaf.dtype)
        if leaf.ndim == 0
        else np.random.default_rng(i).random(leaf.shape).astype(leaf.dtype)
        for i, leaf in enumerate(jax.tree.leaves(shapes))
    ]
    opt_state = jax.tree.unflatten(jax.tree.structure(shapes), filled)
    return types.TrainState(jnp.int32(step), weights, opt_state, jax.random.key(1))


def grow(state, growths, optimizer, axes=AXES, **options):
    """`train_state.grow_state`, compiled."""
    run = functools.partial(
        train_state.grow_state,
        growths=growths,
        axes=axes,
        optimizer_init=optimizer.init,
        **options,
    )
    return jax.jit(run)(state)


def assert_equal(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
