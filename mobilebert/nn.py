"""MobileBERT and its teacher as pure functions, the whole network or the maps it teaches."""

import functools

import flax.linen as nn
import jax.numpy as jnp

from bertgrow.contracts import Network
from bertgrow.nn import layers, pure
from bertgrow.nn.heads import NextSentence, Pooler
from mobilebert import nn_encoder
from mobilebert.config import MobileBertConfig
from mobilebert.nn_embeddings import Embeddings, MaskedHead
from mobilebert.nn_encoder import Maps

__all__ = ["Maps", "MobileBertConfig", "embed", "maps", "network"]


@functools.cache  # equal configurations share their compiled functions
def network(config: MobileBertConfig) -> Network:
    """The pure functions of one configuration, and the axis names of its parameters.

    Inputs and outputs are those of `bertgrow.nn.bert.network`; `first_token` is the raw
    vector where the model has no pooler.
    """
    config.check()
    return pure.network(MobileBert(config), pure.example(length=2))


@functools.cache
def maps(config: MobileBertConfig):
    """The function (params, inputs, active=None) -> `Maps`, without dropout.

    With `active`, an int32 scalar that may be traced, the maps are those of that layer
    alone, and layers above it do no work; the leading axis is 1.
    """
    embeddings = embed(config)

    def run(params, inputs, active=None):
        mask = inputs["tokens"] != config.pad_id
        stack = (params["layers"], embeddings(params, inputs), mask)
        if active is None:
            return nn_encoder.all_maps(*stack, config=config)
        return nn_encoder.maps_at(active, *stack, config=config)

    return run


@functools.cache
def embed(config: MobileBertConfig):
    """The function (params, inputs) -> [batch, length, embed], what the blocks begin with."""
    config.check()

    def run(params, inputs):
        given = {"params": params["embeddings"]}
        return Embeddings(config).apply(given, inputs["tokens"], inputs["types"])[0]

    return run


class MobileBert(nn.Module):
    """MobileBERT (Sun et al., 2020), or by its configuration IB-BERT, the teacher."""

    config: MobileBertConfig

    @nn.compact
    def __call__(self, inputs, key=None):
        config, positions = self.config, inputs.get("positions")
        salts = layers.salts(key, 1 + 2 * config.num_layers, len(inputs["tokens"]))
        on_embeddings, on_layers = (None, None) if key is None else (salts[0], salts[1:])
        mask = inputs["tokens"] != config.pad_id

        embeddings = Embeddings(config, name="embeddings")
        hidden, words = embeddings(inputs["tokens"], inputs["types"], on_embeddings)
        hidden, stacked = nn_encoder.Encoder(config, name="layers")(hidden, mask, on_layers)

        outputs = {"hidden": hidden, "layers": stacked, "first_token": hidden[:, 0]}
        if config.pooler:
            outputs["first_token"] = Pooler(config, name="pooler")(hidden[:, 0])
        if config.next_sentence:
            outputs["nsp_logits"] = NextSentence(config, name="nsp")(outputs["first_token"])
        if positions is not None:
            targets = jnp.take_along_axis(hidden, positions[..., None], axis=1)
            outputs["mlm_logits"] = MaskedHead(config, name="mlm")(targets, words)
        return outputs
