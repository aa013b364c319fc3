"""What reads the encoder: the masked-token head and the next-sentence head."""

import flax.linen as nn
import jax.numpy as jnp

from bertgrow.models import layers
from bertgrow.models.config import BertConfig

# The norm's output is summed over against the tied word table, whose columns growth of
# `embed` copies and does not divide: hence `embed_in`, so that the division happens here.
MASKED = {
    **layers.linear("embed_in embed", "embed"),
    "norm": layers.norm("embed_in"),
    "output_bias": "vocab",
}


class MaskedHead(nn.Module):
    """Scores every word at the masked positions ("Masked LM", Devlin et al., 2019)."""

    config: BertConfig

    @nn.compact
    def __call__(self, hidden, words):
        """[batch, slots, embed], the tied word table -> float32 [batch, slots, vocab]."""
        return masked_logits(layers.declare(self, MASKED), hidden, words, self.config)


def masked_logits(weights, hidden, table, config):
    """[batch, slots, embed] against a table [vocab, embed] -> float32 [batch, slots, vocab]."""
    hidden = layers.activation(config)(layers.dense(weights, hidden))
    hidden = layers.layer_norm(weights["norm"], hidden)
    table = table.T.astype(hidden.dtype)
    logits = layers.product(hidden, table, multiply=layers.float32_matmul)
    return logits + weights["output_bias"][None, None]


class Pooler(nn.Module):
    """The first row through a dense layer and tanh."""

    config: BertConfig

    @nn.compact
    def __call__(self, first):
        """[batch, embed] -> [batch, embed]."""
        weights = layers.declare(self, layers.linear("embed_in embed", "embed"))
        return jnp.tanh(layers.dense(weights, first))


class NextSentence(nn.Module):
    """Does the second segment follow the first? Class 1 says that it is random."""

    config: BertConfig

    @nn.compact
    def __call__(self, pooled):
        """[batch, embed] -> float32 [batch, 2]."""
        weights = layers.declare(self, layers.linear("embed_in classes", "classes"))
        return layers.dense(weights, pooled.astype(jnp.float32))
