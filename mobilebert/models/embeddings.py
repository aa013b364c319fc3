"""Narrow word vectors of three neighbours become wide rows; the head goes the other way."""

import flax.linen as nn
import jax.numpy as jnp

from bertgrow.models import embeddings, heads, layers
from mobilebert.models import blocks
from mobilebert.models.config import MobileBertConfig

WEIGHTS = {
    "words": "vocab table",
    "trigram": layers.linear("trigram_in table_in embed", "embed"),
    "positions": "positions embed",
    "types": "types embed",
    "norm": layers.norm("embed"),
}
MASKED = {**heads.MASKED, "extra": "vocab extra_in"}


class Embeddings(nn.Module):
    """Trigrams of words, positions and types, summed and normalised (Sun et al., 2020)."""

    config: MobileBertConfig

    @nn.compact
    def __call__(self, tokens, types, salt=None):
        """int32 [batch, length] twice -> [batch, length, embed] and the word table."""
        config, length = self.config, tokens.shape[1]
        layers.check_length(length, config)
        table = {name: axes for name, axes in WEIGHTS.items() if name != "norm"}
        table = table if config.norm == "folded" else WEIGHTS
        weights = layers.declare(self, table, **embeddings.starts(config))

        words = trigrams(weights["words"][tokens].astype(layers.compute_dtype(config)))
        summed = layers.dense(weights["trigram"], words, dims=2)
        summed = summed + weights["positions"][None, :length]
        summed = summed + embeddings.look_up_types(weights["types"], types)
        hidden = blocks.normalise(weights.get("norm"), summed, config)
        hidden = hidden.astype(blocks.stream_dtype(config))
        return layers.dropout(hidden, salt, config.dropout), weights["words"]


def trigrams(words):
    """[batch, length, table] -> [batch, length, 3, table]: the next, this, the last word.

    Zeros stand beyond both ends of the row as it is fed, and padding counts as words: the
    last word before padding reads [PAD], and without padding zeros (as published).
    """
    padded = jnp.pad(words, ((0, 0), (1, 1), (0, 0)))
    return jnp.stack([padded[:, 2:], words, padded[:, :-2]], axis=2)


class MaskedHead(nn.Module):
    """Scores words with the tied narrow table and an untied one for the other channels."""

    config: MobileBertConfig

    @nn.compact
    def __call__(self, hidden, words):
        """[batch, slots, embed], [vocab, table] -> float32 [batch, slots, vocab]."""
        config = self.config
        normal = layers.truncated_normal(config.init_scale)
        weights = layers.declare(self, MASKED, extra=normal)
        table = jnp.concatenate([words, weights["extra"]], axis=1)
        hidden = hidden.astype(layers.compute_dtype(config))
        return heads.masked_logits(weights, hidden, table, config)
