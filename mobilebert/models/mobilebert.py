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
from mobilebert.models.encoder import NO_MAPS, Hook

__all__ = ["MobileBertConfig", "embed", "maps", "network", "with_hook"]

RETURN_MAPS = Hook(*(lambda layer_map, hook_input: layer_map,) * 2)


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
    run = with_hook(config)

    def layer_maps(params, inputs, active=None):
        return run(params, inputs, RETURN_MAPS, active=active)["hook_outputs"]

    return layer_maps


@functools.cache
def with_hook(config: MobileBertConfig):
    """Builds the function (params, inputs, hook, hook_inputs=NO_MAPS, active=None) -> outputs.

    The outputs are those of `network` without dropout, and `hook_outputs` of every layer;
    `hook_inputs` are extra inputs of the hook. Both are `Maps`. With `active`, an int32 scalar
    that may be traced, the outputs are only `layers` and `hook_outputs` of that layer, with a
    leading axis of 1.
    """
    embeddings = embed(config)

    def run(params, inputs, hook, hook_inputs=NO_MAPS, active=None):
        if active is None:
            model = MobileBert(config)
            return model.apply({"params": params}, inputs, None, hook, hook_inputs)
        mask = layers.attention_mask(inputs, config)
        output, hook_outputs = encoder.run_to(
            active, params["layers"], embeddings(params, inputs), mask,
            config=config, hook=hook, hook_inputs=hook_inputs,
        )  # fmt: skip
        return {"layers": output, "hook_outputs": hook_outputs}

    return run


@functools.cache
def embed(config: MobileBertConfig):
    """Builds the function (params, inputs) -> [batch, length, embed], the blocks' input."""
    config.check()

    def run(params, inputs):
        variables = {"params": params["embeddings"]}
        return Embeddings(config).apply(variables, inputs["tokens"], inputs["types"])[0]

    return run


class MobileBert(nn.Module):
    """MobileBERT (Sun et al., 2020), or its teacher IB-BERT, by its configuration."""

    config: MobileBertConfig

    @nn.compact
    def __call__(self, inputs, keys=None, hook=None, hook_inputs=NO_MAPS):
        config, positions = self.config, inputs.get("positions")
        seeds = layers.dropout_seeds(keys, 1 + 2 * config.num_layers)
        embeddings_seed, layer_seeds = (None, None) if keys is None else (seeds[0], seeds[1:])
        mask = layers.attention_mask(inputs, config)

        embeddings = Embeddings(config, name="embeddings")
        hidden, words = embeddings(inputs["tokens"], inputs["types"], embeddings_seed)
        layers_of_model = encoder.Encoder(config, name="layers")
        hidden, stacked, layer_max, hook_outputs = layers_of_model(
            hidden, mask, layer_seeds, hook, hook_inputs
        )

        outputs = {"hidden": hidden, "layers": stacked, "layer_max": layer_max}
        outputs["mask"] = mask
        outputs["first_token"] = layers.shard_batch(hidden[:, 0])
        if hook is not None:
            outputs["hook_outputs"] = hook_outputs
        if config.pooler:
            outputs["first_token"] = Pooler(config, name="pooler")(outputs["first_token"])
        if config.next_sentence:
            outputs["nsp_logits"] = NextSentence(config, name="nsp")(outputs["first_token"])
        if positions is not None:
            targets = jnp.take_along_axis(hidden, positions[..., None], axis=1)
            logits = MaskedHead(config, name="mlm")(layers.shard_batch(targets), words)
            outputs["mlm_logits"] = logits
        return outputs
