"""MobileBERT and its teacher as pure functions: the network and its layer maps."""

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
    """Builds the pure functions of a configuration and the axis names of its parameters.

    Inputs and outputs are those of `bertgrow.models.bert.network`; `first_token` is the raw
    vector if the model has no pooler.
    """
    config.check()
    return pure.network(MobileBert(config), pure.example(length=2))


@functools.cache
def maps(config: MobileBertConfig):
    """Builds the function (params, inputs, active=None) -> `Maps`, without dropout.

    With `active`, an int32 scalar that may be traced, it returns the maps of that layer alone,
    with a leading axis of 1, and skips the layers above.
    """
    run = watched(config)
    return lambda params, inputs, active=None: run(params, inputs, KEEP, active=active)["seen"]


@functools.cache
def watched(config: MobileBertConfig):
    """Builds the function (params, inputs, watch, given=NOTHING, active=None) -> outputs.

    The outputs are those of `network` without dropout, and `seen`, the outputs of the hook
    `watch` for every layer; `given` is an extra input of the hook. Both are `Maps`. With
    `active`, an int32 scalar that may be traced, the outputs are only `layers` and `seen` of
    that layer, with a leading axis of 1.
    """
    embeddings = embed(config)

    def run(params, inputs, watch, given=NOTHING, active=None):
        if active is None:
            return MobileBert(config).apply({"params": params}, inputs, None, watch, given)
        mask = layers.attention_mask(inputs, config)
        output, seen = encoder.run_to(
            active, params["layers"], embeddings(params, inputs), mask,
            config=config, watch=watch, given=given,
        )  # fmt: skip
        return {"layers": output, "seen": seen}

    return run


@functools.cache
def embed(config: MobileBertConfig):
    """Builds the function (params, inputs) -> [batch, length, embed], the blocks' input."""
    config.check()

    def run(params, inputs):
        given = {"params": params["embeddings"]}
        return Embeddings(config).apply(given, inputs["tokens"], inputs["types"])[0]

    return run


class MobileBert(nn.Module):
    """MobileBERT (Sun et al., 2020), or its teacher IB-BERT, by its configuration."""

    config: MobileBertConfig

    @nn.compact
    def __call__(self, inputs, key=None, watch=None, given=NOTHING):
        config, positions = self.config, inputs.get("positions")
        salts = layers.salts(key, 1 + 2 * config.num_layers, len(inputs["tokens"]))
        on_embeddings, on_layers = (None, None) if key is None else (salts[0], salts[1:])
        mask = layers.attention_mask(inputs, config)

        embeddings = Embeddings(config, name="embeddings")
        hidden, words = embeddings(inputs["tokens"], inputs["types"], on_embeddings)
        layers_of_model = encoder.Encoder(config, name="layers")
        hidden, stacked, layer_max, seen = layers_of_model(
            hidden, mask, on_layers, watch, given
        )

        outputs = {"hidden": hidden, "layers": stacked, "layer_max": layer_max}
        outputs["mask"] = mask
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
