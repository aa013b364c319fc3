"""BERT as pure functions: embeddings, stacked layers and two heads."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from bertgrow.core import flops
from bertgrow.core.types import Family, Network
from bertgrow.models import layers, names, pure
from bertgrow.models.config import BertConfig
from bertgrow.models.embeddings import Embeddings
from bertgrow.models.encoder import Encoder
from bertgrow.models.heads import MaskedHead, NextSentence, Pooler
from bertgrow.models.pooling import Streams

__all__ = ["BertConfig", "family", "network", "sizes"]

sizes = BertConfig.sizes


@functools.cache  # equal configurations share their compiled functions
def network(config: BertConfig, *, two_streams=None) -> Network:
    """Builds the pure functions of a configuration and the axis names of its parameters.

    Inputs and outputs are those of `Network`. Without `positions` there are no `mlm_logits`.
    A further output, `layers` [layers, batch, length, width], holds the output of every
    layer; `layer_max`, float32 [layers], holds its largest magnitude. Under jit, XLA removes
    unused outputs.

    Args:
      config: configuration of the model.
      two_streams: whether prediction targets are separated from the other tokens; by default
        if `pool` is above 1. With `pool` 1 it changes the order of positions in the encoder,
        but neither logits nor losses.
    """
    config.check()
    model = Bert(config, config.pool > 1 if two_streams is None else two_streams)
    return pure.network(model, pure.example(length=config.pool + 1))


class Bert(nn.Module):
    """BERT (Devlin et al., 2019) and the low-cost encoder of CompoundGrow (Gu et al., 2021)."""

    config: BertConfig
    two_streams: bool

    @nn.compact
    def __call__(self, inputs, keys=None):
        config, positions = self.config, inputs.get("positions")
        seeds = layers.dropout_seeds(keys, 1 + 3 * config.num_layers)
        embedding_seed, layer_seeds = (None, None) if keys is None else (seeds[0], seeds[1:])
        mask = layers.attention_mask(inputs, config)

        embeddings = Embeddings(config, name="embeddings")
        hidden, words = embeddings(inputs["tokens"], inputs["types"], embedding_seed)
        if config.frozen_layers:
            words = jax.lax.stop_gradient(words)  # the head uses this table too
        streams = hidden, mask
        if self.two_streams:
            streams = Streams(config, name="resolution")(hidden, mask, inputs)
        hidden, stacked, layer_max = Encoder(config, name="layers")(*streams, seeds=layer_seeds)
        if config.norm_order == "pre":  # pre-norm layers do not normalise their output
            final = layers.declare(self, {"final_norm": layers.norm("embed")})
            hidden = layers.layer_norm(final["final_norm"], hidden)

        outputs = {"hidden": hidden, "layers": stacked, "layer_max": layer_max}
        outputs["mask"] = streams[1]
        outputs["first_token"] = Pooler(config, name="pooler")(layers.shard_batch(hidden[:, 0]))
        if config.next_sentence:
            outputs["nsp_logits"] = NextSentence(config, name="nsp")(outputs["first_token"])
        if positions is not None:
            targets = layers.shard_batch(self._targets(hidden, positions))
            outputs["mlm_logits"] = MaskedHead(config, name="mlm")(targets, words)
        return outputs

    def _targets(self, hidden, positions):
        """Hidden states of the masked positions, [batch, max_predictions, embed]."""
        if self.two_streams:
            return hidden[:, hidden.shape[1] - positions.shape[1] :]
        return jnp.take_along_axis(hidden, positions[..., None], axis=1)


family = Family(
    config=BertConfig,
    network=network,
    sizes=sizes,
    flops=flops.forward,
    layouts=names.LAYOUTS,
)
