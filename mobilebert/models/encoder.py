"""Encoder: a scan over stacked blocks, whole or up to one layer, with hooks on its maps."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from bertgrow.models import encoder, layers
from mobilebert.models import blocks
from mobilebert.models.config import MobileBertConfig
from mobilebert.models.maps import NOTHING, Maps


class Encoder(nn.Module):
    """All blocks; every weight has a leading axis `layers`."""

    config: MobileBertConfig

    @nn.compact
    def __call__(self, hidden, mask, salts=None, watch=None, given=NOTHING):
        """Runs the blocks.

        Args:
          hidden: [batch, length, embed].
          mask: bool [batch, length], false at padding.
          salts: dropout seeds, uint32 [2 layers, 2, batch], two per block, or None.
          watch: `Watch`, the hook, or None.
          given: `Maps` passed to the hook, with leading axis `layers`.

        Returns:
          [batch, length, embed]; every block's output [layers, batch, length, embed]; their
          largest magnitudes, float32 [layers]; and the hook outputs, stacked along `layers`, as
          `Maps`; None without a hook.
        """
        config = self.config
        weights = layers.declare(self, blocks.weights(config))
        if salts is not None:
            salts = salts.reshape(config.num_layers, 2, *salts.shape[1:])
        inside = encoder.apply_remat(_layer(config, watch), config.remat, prevent_cse=False)

        def body(hidden, layer):
            weights, salt, given = layer
            hidden, seen = inside(weights, hidden, mask, salt, given)
            return hidden, (hidden, encoder.largest(hidden), seen)

        hidden, (stacked, layer_max, seen) = jax.lax.scan(body, hidden, (weights, salts, given))
        return hidden, stacked, layer_max, seen


def run_to(active, weights, hidden, mask, *, config, watch, given=NOTHING):
    """Runs the blocks up to one layer, with hooks on that layer only; layers above are skipped.

    A loop with early exit has no reverse mode in JAX. The scan therefore has one iteration per
    layer, but from `active` on an iteration only copies the carry, forwards and backwards.
    Iterations are recomputed in the backward pass whatever `config.remat` is: a branch not
    taken would fill the saved residuals of the other branch with zeros, which takes as long.

    Args:
      active: int32 scalar, traced or not: one program serves all layers.
      weights, hidden, mask: as in `Encoder`, without dropout.
      watch: `Watch`, the hook.
      given: `Maps` of the active layer, with a leading axis of 1.

    Returns:
      The layer's output and the hook outputs, as in `Encoder`, with a leading axis of 1.
    """
    block = _layer(config)

    def turn(weights, hidden, is_below):
        def run(hidden):
            return block(weights, hidden, mask)[0]

        return jax.lax.cond(is_below, run, lambda hidden: hidden, hidden)

    # Remat around the branch, not inside it: a branch would return copies of its weights.
    inside = encoder.apply_remat(turn, "full", prevent_cse=False)

    def body(hidden, layer):
        weights, is_below = layer
        return inside(weights, hidden, is_below), None

    is_below = jnp.arange(config.num_layers) < active
    hidden, _ = jax.lax.scan(body, hidden, (weights, is_below))
    pick = functools.partial(jax.lax.dynamic_index_in_dim, index=active, keepdims=False)
    last = encoder.apply_remat(_layer(config, watch), config.remat, prevent_cse=True)
    given = jax.tree.map(lambda each: each[0], given)
    found = last(jax.tree.map(pick, weights), hidden, mask, None, given)
    return jax.tree.map(lambda each: each[None], found)


def _layer(config, watch=None):
    """Builds (weights, hidden, mask, seeds, given) -> (hidden, hook outputs) of one layer."""

    def run(weights, hidden, mask, salt=None, given=NOTHING):
        block = functools.partial(blocks.block, config=config)
        if watch is None:
            return block(weights, hidden, mask, salt)

        def by_scores(scores):
            return watch.scores(scores, given.scores)

        hidden, of_scores = block(weights, hidden, mask, salt, watch=by_scores)
        by_features = jax.checkpoint(watch.features, prevent_cse=False)
        return hidden, Maps(by_features(hidden, given.features), of_scores)

    return run
