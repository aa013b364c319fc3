"""Embeddings from trigrams of a narrow token table, and the masked-token head."""

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
    """Sum of token trigrams, positions and types, normalised (Sun et al., 2020)."""

    config: MobileBertConfig

    @nn.compact
    def __call__(self, tokens, types, dropout_seed=None):
        """Two int32 [batch, length] -> [batch, length, embed] and the token table."""
        config, length = self.config, tokens.shape[1]
        layers.check_length(length, config)
        table = {name: axes for name, axes in WEIGHTS.items() if name != "norm"}
        table = table if config.norm == "folded" else WEIGHTS
        weights = layers.declare(self, table, **embeddings.initializers(config))

        words = layers.look_up(weights["words"], tokens)
        words = trigrams(words.astype(layers.compute_dtype(config)))
        summed = layers.dense(weights["trigram"], words, dims=2)
        summed = summed + weights["positions"][None, :length]
        summed = summed + embeddings.look_up_types(weights["types"], types)
        hidden = blocks.normalise(weights.get("norm"), summed, config, is_loose=True)
        hidden = hidden.astype(blocks.stream_dtype(config))
        return layers.dropout(hidden, dropout_seed, config.dropout), weights["words"]


def trigrams(words):
    """[batch, length, table] -> [batch, length, 3, table]: next, present and previous token.

    Both ends of the padded sequence get zeros, and padding counts as tokens: the next token of
    the last real one is [PAD], or zeros without padding (as published).
    """
    padded = jnp.pad(words, ((0, 0), (1, 1), (0, 0)))
    return jnp.stack([padded[:, 2:], words, padded[:, :-2]], axis=2)


class MaskedHead(nn.Module):
    """Masked-token head: the tied narrow table, and an untied table for the other channels."""

    config: MobileBertConfig

    @nn.compact
    def __call__(self, hidden, words):
        """[batch, predictions, embed], [vocab, table] -> float32 logits [..., vocab]."""
        config = self.config
        normal = layers.truncated_normal(config.init_scale)
        weights = layers.declare(self, MASKED, extra=normal)
        table = jnp.concatenate([words, weights["extra"]], axis=1)
        hidden = hidden.astype(layers.compute_dtype(config))
        return heads.masked_logits(weights, hidden, table, config)
