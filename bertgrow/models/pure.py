"""Converts a Flax module to pure functions of plain parameter trees."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bertgrow.core.types import Network


def network(model, inputs):
    """Builds the `Network` of a module that is called as `model(inputs, keys)`.

    Args:
      model: Flax module; `layers.declare` declares its weights, so that their axes have
        names.
      inputs: example inputs for which the forward pass uses every weight, e.g. `example`.
    """

    def boxed(key):
        return model.init(key, inputs)["params"]

    @jax.jit  # removes the forward pass over the example
    def init(key):
        return nn.meta.unbox(boxed(key))

    def apply(params, inputs, keys=None):
        return model.apply({"params": params}, inputs, keys)

    axes = nn.get_partition_spec(jax.eval_shape(boxed, jax.random.key(0)))
    return Network(init, apply, axes)


def example(length):
    """Example inputs: one sequence of `length` tokens with one masked position."""
    tokens = jnp.ones((1, length), jnp.int32)
    positions = jnp.zeros((1, 1), jnp.int32)
    return {
        "tokens": tokens,
        "types": tokens * 0,
        "positions": positions,
        "weights": positions.astype(jnp.float32),
    }
