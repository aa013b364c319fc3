"""The stacked blocks, walked by a scan, whole or up to one layer."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from bertgrow.nn import encoder, layers
from mobilebert import nn_block
from mobilebert.config import MobileBertConfig


class Maps(NamedTuple):
    """What one network teaches another: each layer's feature and attention maps."""

    features: Any  # float [layers, batch, length, embed], the blocks' outputs
    scores: Any  # float32 [layers, batch, heads, length, length], masked, before softmax


class Encoder(nn.Module):
    """All blocks; every weight has a leading axis `layers`."""

    config: MobileBertConfig

    @nn.compact
    def __call__(self, hidden, mask, salts=None):
        """Runs the blocks.

        Args:
          hidden: [batch, length, embed].
          mask: bool [batch, length], false at padding.
          salts: uint32 [2 layers, 2, batch], two dropouts a block, or None.

        Returns:
          [batch, length, embed], and every block's output [layers, batch, length, embed].
        """
        config = self.config
        weights = layers.declare(self, nn_block.weights(config))
        if salts is not None:
            salts = salts.reshape(config.num_layers, 2, *salts.shape[1:])
        block = functools.partial(nn_block.block, config=config)
        inside = encoder.remember(block, config.remat, prevent_cse=False)

        def body(hidden, layer):
            weights, salt = layer
            hidden, _ = inside(weights, hidden, mask, salt)
            return hidden, hidden

        return jax.lax.scan(body, hidden, (weights, salts))


def all_maps(weights, hidden, mask, *, config):
    """The `Maps` of every layer, without dropout."""
    inside = encoder.remember(
        functools.partial(_observed, config=config), config.remat, prevent_cse=False
    )

    def body(hidden, weights):
        maps = inside(weights, hidden, mask)
        return maps.features, maps

    return jax.lax.scan(body, hidden, weights)[1]


def maps_at(active, weights, hidden, mask, *, config):
    """The `Maps` of one layer, their leading axis 1; layers above it do no work.

    A loop that ends early has no reverse mode. Here the scan still takes a turn for every
    layer, but from `active` on a turn copies the carry, forwards and backwards. Turns are
    computed again in the backward pass whatever `config.remat`: a branch that is not taken
    has to fill what the other one would have kept with zeros, which costs as much time.

    Args:
      active: int32 scalar, traced or not: one program serves all layers.
    """
    observed = functools.partial(_observed, config=config)

    def turn(weights, hidden, is_below):
        def run(hidden):
            return observed(weights, hidden, mask).features

        return jax.lax.cond(is_below, run, lambda hidden: hidden, hidden)

    # Around the branch, not inside it: a branch would hand out copies of its weights.
    inside = encoder.remember(turn, "full", prevent_cse=False)

    def body(hidden, layer):
        weights, is_below = layer
        return inside(weights, hidden, is_below), None

    is_below = jnp.arange(config.num_layers) < active
    hidden, _ = jax.lax.scan(body, hidden, (weights, is_below))
    pick = functools.partial(jax.lax.dynamic_index_in_dim, index=active, keepdims=False)
    last = encoder.remember(observed, config.remat, prevent_cse=True)
    maps = last(jax.tree.map(pick, weights), hidden, mask)
    return jax.tree.map(lambda each: each[None], maps)


def _observed(weights, hidden, mask, *, config):
    hidden, (query, keys) = nn_block.block(weights, hidden, mask, config=config)
    return Maps(hidden, encoder.scores(query, keys, mask))
