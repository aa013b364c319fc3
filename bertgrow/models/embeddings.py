"""Token, position and segment type embeddings."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from bertgrow.models import layers
from bertgrow.models.config import BertConfig

CUT_DEVIATION = 0.8796256610342398  # std of a normal variable truncated at two deviations
WEIGHTS = {
    "words": "vocab embed",
    "positions": "positions embed",
    "types": "types embed",
}
NORM = {"norm": layers.norm("embed")}


class Embeddings(nn.Module):
    """Sums the three embeddings, then applies LayerNorm and dropout.

    Pre-norm models have no LayerNorm here, because their first layer begins with one.
    """

    config: BertConfig

    @nn.compact
    def __call__(self, tokens, types, seed=None):
        """Embeds a batch.

        Args:
          tokens: int32 [batch, length].
          types: int32 [batch, length], segment types.
          seed: dropout seed, uint32 [2, batch], or None.

        Returns:
          Hidden states [batch, length, embed] and the word table [vocab, embed].
        """
        config, length = self.config, tokens.shape[1]
        layers.check_length(length, config)
        is_pre = config.norm_order == "pre"
        table = WEIGHTS if is_pre else WEIGHTS | NORM
        weights = layers.declare(self, table, **initializers(config))
        hidden = layers.look_up(weights["words"], tokens) + weights["positions"][None, :length]
        hidden = hidden + look_up_types(weights["types"], types)
        if not is_pre:
            hidden = layers.layer_norm(weights["norm"], hidden)
        hidden = hidden.astype(layers.compute_dtype(config))
        return layers.dropout(hidden, seed, config.dropout), weights["words"]


def look_up_types(table, types):
    """Looks up segment types: [types, embed], int32 [batch, length] -> [batch, length, embed].

    Multiplies by a one-hot matrix, because the gradient of a gather from a table of two rows
    is a slow scatter.
    """
    return jax.nn.one_hot(types, len(table), dtype=jnp.float32) @ table


def initializers(config):
    """Initialiser of the position table by `config.positions_init`, for `layers.declare`."""
    if config.positions_init == "normal":
        return {}
    deviation = CUT_DEVIATION * config.init_scale
    return {"positions": sinusoids(1.5 * math.sqrt(2) * deviation)}


def sinusoids(amplitude, base=100.0):
    """Initialises a position table with sines and cosines, so that a shift is a linear map.

    With a random table, attention has to learn the relation between neighbouring positions
    for each position separately, and a small model predicts unigram frequencies for a long
    time. The published base, 10,000, works less well on short sequences.
    """

    def initialize(key, shape, dtype):
        del key
        length, width = shape
        half = -(-width // 2)
        frequencies = base ** (-jnp.arange(half) / half)
        angles = jnp.arange(length)[:, None] * frequencies[None]
        table = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)
        return (amplitude * table[:, :width]).astype(dtype)

    return initialize
