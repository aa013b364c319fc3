"""Output heads: masked language modelling and next-sentence prediction."""

import flax.linen as nn
import jax.numpy as jnp

from bertgrow.models import layers
from bertgrow.models.config import BertConfig

# The norm's output is multiplied by the tied word table and summed over `embed`. Growth of
# `embed` copies the columns of that table and does not divide them. The norm therefore has
# the axis `embed_in`, so that growth divides its weights instead.
MASKED = {
    **layers.linear("embed_in embed", "embed"),
    "norm": layers.norm("embed_in"),
    "output_bias": "vocab",
}


class MaskedHead(nn.Module):
    """Computes logits at the masked positions ("Masked LM", Devlin et al., 2019)."""

    config: BertConfig

    @nn.compact
    def __call__(self, hidden, words):
        """Computes the logits, float32 [batch, max_predictions, vocab].

        Args:
          hidden: [batch, max_predictions, embed], hidden states of the masked positions.
          words: [vocab, embed], the tied word table.
        """
        return masked_logits(layers.declare(self, MASKED), hidden, words, self.config)


def masked_logits(weights, hidden, table, config):
    """Computes logits, float32 [batch, max_predictions, vocab].

    Args:
      weights: of the head.
      hidden: [batch, max_predictions, embed].
      table: [vocab, embed].
      config: its `activation` is used.
    """
    hidden = layers.activation(config)(layers.shard_batch(layers.dense(weights, hidden)))
    hidden = layers.layer_norm(weights["norm"], hidden)
    table = table.T.astype(hidden.dtype)
    logits = layers.product(hidden, table, multiply=layers.float32_matmul)
    return logits + weights["output_bias"][None, None]


class Pooler(nn.Module):
    """Applies a dense layer and tanh to the first token's hidden state."""

    config: BertConfig

    @nn.compact
    def __call__(self, first):
        """Pools the first token, [batch, embed] -> [batch, embed]."""
        weights = layers.declare(self, layers.linear("embed_in embed", "embed"))
        return jnp.tanh(layers.shard_batch(layers.dense(weights, first)))


class NextSentence(nn.Module):
    """Classifies whether the second segment follows the first. Class 1 is a random segment."""

    config: BertConfig

    @nn.compact
    def __call__(self, pooled):
        """Computes logits, [batch, embed] -> float32 [batch, 2]."""
        weights = layers.declare(self, layers.linear("embed_in classes", "classes"))
        return layers.dense(weights, pooled.astype(jnp.float32))
