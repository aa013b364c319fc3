"""A Flax module becomes pure functions over plain trees."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bertgrow.core.types import Network


def network(model, inputs):
    """The `Network` of a module called as `model(inputs, key)`.

    Args:
      model: its weights are declared by `layers.declare`, so that their axes have names.
      inputs: an example that reaches every weight, e.g. `example`.
    """

    def boxed(key):
        return model.init(key, inputs)["params"]

    @jax.jit  # drops the forward pass over the example
    def init(key):
        return nn.meta.unbox(boxed(key))

    def apply(params, inputs, key=None):
        return model.apply({"params": params}, inputs, key)

    axes = nn.get_partition_spec(jax.eval_shape(boxed, jax.random.key(0)))
    return Network(init, apply, axes)


def example(length):
    """A row of `length` tokens with one prediction."""
    tokens = jnp.ones((1, length), jnp.int32)
    slot = jnp.zeros((1, 1), jnp.int32)
    return {
        "tokens": tokens,
        "types": tokens * 0,
        "positions": slot,
        "weights": slot.astype(jnp.float32),
    }
