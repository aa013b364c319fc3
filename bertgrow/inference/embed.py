"""Embeds texts: one vector a text, pooled from the last hidden states."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core.errors import InputError
from bertgrow.inference import batches, texts

POOLINGS = ("mean", "cls", "max")


def embed(model, sentences, *, pooling="mean", size=32):
    """Embeds texts.

    Args:
      model: `Model`.
      sentences: list of str; what exceeds the model's positions is cut off.
      pooling: "mean" or "max" over all tokens, [CLS] and [SEP] included, or "cls", the hidden
        state of [CLS].
      size: sequences of a batch at most.

    Returns:
      float32 [texts, width].
    """
    if pooling not in POOLINGS:
        raise InputError(f"pooling is {pooling!r}; expected one of {', '.join(POOLINGS)}")
    rows = texts.encode(model.tokenizer, sentences)
    rows = texts.cut(rows, model.config.max_length, model.tokenizer)
    run = _pooled(model.network.apply, pooling)
    embeddings = np.zeros((len(rows), model.config.width), np.float32)
    for batch in batches.make(rows, model.config, size=size):
        vectors = jax.device_get(run(model.params, batch.inputs))
        embeddings[batch.numbers] = vectors[: len(batch.numbers)]
    return embeddings


@functools.cache
def _pooled(apply, pooling):
    """Function (params, inputs) -> float32 [batch, width]."""

    @jax.jit
    def run(params, inputs):
        outputs = apply(params, inputs)
        hidden = outputs["hidden"].astype(jnp.float32)
        mask = outputs["mask"][..., None]
        if pooling == "cls":
            return hidden[:, 0]
        if pooling == "max":
            return jnp.where(mask, hidden, -jnp.inf).max(axis=1)
        return (hidden * mask).sum(axis=1) / jnp.maximum(mask.sum(axis=1), 1)

    return run
