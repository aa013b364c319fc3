"""MobileBERT and its teacher as pure functions: the network, and what its layers teach."""

import functools

import flax.linen as nn
import jax.numpy as jnp

from bertgrow.core.types import Network
from bertgrow.models import layers, pure
from bertgrow.models.heads import NextSentence, Pooler
from mobilebert.models import encoder
from mobilebert.models.config import MobileBertConfig
from mobilebert.models.embeddings import Embeddings, MaskedHead
from mobilebert.models.maps import KEEP, NOTHING

__all__ = ["MobileBertConfig", "embed", "maps", "network", "watched"]


@functools.cache  # equal configurations share their compiled functions
def network(config: MobileBertConfig) -> Network:
    """The pure functions of one configuration, and the axis names of its parameters.

    Inputs and outputs are those of `bertgrow.models.bert.network`; `first_token` is the raw
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
    run = watched(config)
    return lambda params, inputs, active=None: run(params, inputs, KEEP, active=active)["seen"]


@functools.cache
def watched(config: MobileBertConfig):
    """The function (params, inputs, watch, given=NOTHING, active=None) -> outputs.

    Those of `network` without dropout, and `seen`, what the `Watch` made of every layer and
    what is `given` for it, both `Maps`. With `active`, an int32 scalar that may be traced,
    there are only `layers` and `seen`, of that layer alone: their leading axis is 1.
    """
    embeddings = embed(config)

    def run(params, inputs, watch, given=NOTHING, active=None):
        if active is None:
            return MobileBert(config).apply({"params": params}, inputs, None, watch, given)
        mask = inputs["tokens"] != config.pad_id
        layers, seen = encoder.run_to(
            active, params["layers"], embeddings(params, inputs), mask,
            config=config, watch=watch, given=given,
        )  # fmt: skip
        return {"layers": layers, "seen": seen}

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
    def __call__(self, inputs, key=None, watch=None, given=NOTHING):
        config, positions = self.config, inputs.get("positions")
        salts = layers.salts(key, 1 + 2 * config.num_layers, len(inputs["tokens"]))
        on_embeddings, on_layers = (None, None) if key is None else (salts[0], salts[1:])
        mask = inputs["tokens"] != config.pad_id

        embeddings = Embeddings(config, name="embeddings")
        hidden, words = embeddings(inputs["tokens"], inputs["types"], on_embeddings)
        layers_of_model = encoder.Encoder(config, name="layers")
        hidden, stacked, layer_max, seen = layers_of_model(
            hidden, mask, on_layers, watch, given
        )

        outputs = {"hidden": hidden, "layers": stacked, "layer_max": layer_max}
        outputs["first_token"] = hidden[:, 0]
        if watch is not None:
            outputs["seen"] = seen
        if config.pooler:
            outputs["first_token"] = Pooler(config, name="pooler")(hidden[:, 0])
        if config.next_sentence:
            outputs["nsp_logits"] = NextSentence(config, name="nsp")(outputs["first_token"])
        if positions is not None:
            targets = jnp.take_along_axis(hidden, positions[..., None], axis=1)
            outputs["mlm_logits"] = MaskedHead(config, name="mlm")(targets, words)
        return outputs
