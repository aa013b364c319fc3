"""Words, positions and types become vectors, in text order."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from bertgrow.models import layers
from bertgrow.models.config import BertConfig

CUT_DEVIATION = 0.8796256610342398  # of a normal variable cut at two deviations
WEIGHTS = {
    "words": "vocab embed",
    "positions": "positions embed",
    "types": "types embed",
}
NORM = {"norm": layers.norm("embed")}


class Embeddings(nn.Module):
    """The three tables, summed, normalised and dropped out.

    Not normalised where layers are pre-norm: the first of them does it.
    """

    config: BertConfig

    @nn.compact
    def __call__(self, tokens, types, salt=None):
        """int32 [batch, length] twice -> [batch, length, embed] and the word table."""
        config, length = self.config, tokens.shape[1]
        layers.check_length(length, config)
        is_pre = config.norm_order == "pre"
        table = WEIGHTS if is_pre else WEIGHTS | NORM
        weights = layers.declare(self, table, **starts(config))
        typed = look_up_types(weights["types"], types)
        hidden = weights["words"][tokens] + weights["positions"][None, :length] + typed
        if not is_pre:
            hidden = layers.layer_norm(weights["norm"], hidden)
        hidden = hidden.astype(layers.compute_dtype(config))
        return layers.dropout(hidden, salt, config.dropout), weights["words"]


def look_up_types(table, types):
    """[types, embed], int32 [batch, length] -> [batch, length, embed].

    A product, because the gradient of a gather of two rows is a slow scatter.
    """
    return jax.nn.one_hot(types, len(table), dtype=jnp.float32) @ table


def starts(config):
    """How the position table starts where `config.positions_init` says so, for `declare`."""
    if config.positions_init == "normal":
        return {}
    deviation = CUT_DEVIATION * config.init_scale
    return {"positions": sinusoids(1.5 * math.sqrt(2) * deviation)}


def sinusoids(amplitude, base=100.0):
    """Starts a position table as sines and cosines, so that a shift is one linear map.

    With random rows attention learns the way from each position to its neighbour by
    itself, and a small model stays for long at the unigram frequencies. The published
    base, 10,000, works less well on short rows.
    """

    def start(key, shape, dtype):
        del key
        length, width = shape
        half = -(-width // 2)
        rates = base ** (-jnp.arange(half) / half)
        angles = jnp.arange(length)[:, None] * rates[None]
        table = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)
        return (amplitude * table[:, :width]).astype(dtype)

    return start
