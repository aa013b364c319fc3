"""Encoder: a scan over stacked blocks, whole or up to one layer, with hooks on its maps."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from bertgrow.models import encoder, layers
from mobilebert.models import blocks
from mobilebert.models.config import MobileBertConfig


class Maps(NamedTuple):
    """Feature and attention maps of each layer, or the outputs of a `Hook`."""

    features: Any  # float [layers, batch, length, embed], the blocks' outputs
    scores: Any  # float32 [layers, batch, heads, length, length], masked, before softmax


class Hook(NamedTuple):
    """Two functions of one layer's map and of an extra input for that layer.

    They run within the layer, and again in the backward pass, so a map that they reduce to a
    smaller value is not kept in memory after its layer.
    """

    features: Any
    scores: Any


NO_MAPS = Maps(None, None)


class Encoder(nn.Module):
    """All blocks; every weight has a leading axis `layers`."""

    config: MobileBertConfig

    @nn.compact
    def __call__(self, hidden, mask, dropout_seeds=None, hook=None, hook_inputs=NO_MAPS):
        """Runs the blocks.

        Args:
          hidden: [batch, length, embed].
          mask: bool [batch, length], false at padding.
          dropout_seeds: uint32 [2 layers, 2, batch], two per block, or None.
          hook: `Hook` or None.
          hook_inputs: `Maps` passed to the hook, with leading axis `layers`.

        Returns:
          [batch, length, embed]; every block's output [layers, batch, length, embed]; their
          largest magnitudes, float32 [layers]; and the hook outputs, stacked along `layers`, as
          `Maps`; None without a hook.
        """
        config = self.config
        weights = layers.declare(self, blocks.weights(config))
        if dropout_seeds is not None:
            shape = (config.num_layers, 2, *dropout_seeds.shape[1:])
            dropout_seeds = dropout_seeds.reshape(shape)
        run_layer = encoder.apply_remat(_layer(config, hook), config.remat, prevent_cse=False)

        def step(hidden, layer):
            weights, seeds, hook_input = layer
            hidden, hook_output = run_layer(weights, hidden, mask, seeds, hook_input)
            hidden = layers.shard_batch(hidden)
            return hidden, (hidden, encoder.largest(hidden), hook_output)

        hidden = layers.shard_batch(hidden)
        stacked_inputs = (weights, dropout_seeds, hook_inputs)
        hidden, (stacked, layer_max, hook_outputs) = jax.lax.scan(step, hidden, stacked_inputs)
        return hidden, stacked, layer_max, hook_outputs


def run_to(active, weights, hidden, mask, *, config, hook, hook_inputs=NO_MAPS):
    """Runs the blocks up to one layer, with hooks on that layer only; layers above are skipped.

    A loop with early exit has no reverse mode in JAX. The scan therefore has one iteration per
    layer, but from `active` on an iteration only copies the carry, forwards and backwards.
    Iterations are recomputed in the backward pass whatever `config.remat` is: a branch not
    taken would fill the saved residuals of the other branch with zeros, which takes as long.

    Args:
      active: int32 scalar, traced or not: one program serves all layers.
      weights, hidden, mask: as in `Encoder`, without dropout.
      hook: `Hook`.
      hook_inputs: `Maps` of the active layer, with a leading axis of 1.

    Returns:
      The layer's output and the hook outputs, as in `Encoder`, with a leading axis of 1.
    """
    block = _layer(config)

    def run_if_below(weights, hidden, is_below):
        def run(hidden):
            return block(weights, hidden, mask)[0]

        return jax.lax.cond(is_below, run, lambda hidden: hidden, hidden)

    # Remat around the branch, not inside it: a branch would return copies of its weights.
    iteration = encoder.apply_remat(run_if_below, "full", prevent_cse=False)

    def step(hidden, layer):
        weights, is_below = layer
        return layers.shard_batch(iteration(weights, hidden, is_below)), None

    is_below = jnp.arange(config.num_layers) < active
    hidden = layers.shard_batch(hidden)
    hidden, _ = jax.lax.scan(step, hidden, (weights, is_below))
    pick = functools.partial(jax.lax.dynamic_index_in_dim, index=active, keepdims=False)
    last = encoder.apply_remat(_layer(config, hook), config.remat, prevent_cse=True)
    hook_input = jax.tree.map(lambda leaf: leaf[0], hook_inputs)
    outputs = last(jax.tree.map(pick, weights), hidden, mask, None, hook_input)
    return jax.tree.map(lambda leaf: leaf[None], outputs)


def _layer(config, hook=None):
    """Builds (weights, hidden, mask, seeds, hook input) -> (hidden, hook output) of a layer."""

    def run(weights, hidden, mask, dropout_seeds=None, hook_input=NO_MAPS):
        block = functools.partial(blocks.block, config=config)
        if hook is None:
            return block(weights, hidden, mask, dropout_seeds)

        def on_scores(scores):
            return hook.scores(scores, hook_input.scores)

        hidden, scores_output = block(weights, hidden, mask, dropout_seeds, hook=on_scores)
        on_features = jax.checkpoint(hook.features, prevent_cse=False)
        return hidden, Maps(on_features(hidden, hook_input.features), scores_output)

    return run
