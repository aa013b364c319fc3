"""Fills [MASK] in texts with the most probable tokens."""

import functools
from typing import NamedTuple

import jax
import numpy as np

from bertgrow.core.errors import InputError
from bertgrow.inference import batches, texts


class Filled(NamedTuple):
    """A token for one [MASK]."""

    token: str
    probability: float
    id: int


def fill_mask(model, sentences, *, top_k=5, size=32):
    """Predicts the tokens of every [MASK].

    Args:
      model: `Model`.
      sentences: list of str, each with at least one "[MASK]".
      top_k: tokens of a [MASK], the most probable first.
      size: sequences of a batch at most.

    Returns:
      For each sentence a list with one entry for each [MASK], a list of `Filled`.
    """
    check_head(model)
    vocab = model.tokenizer.vocab
    if not 1 <= top_k <= vocab.size:
        raise InputError(f"top_k is {top_k}; expected 1 to {vocab.size}, the vocabulary")
    rows = texts.encode(model.tokenizer, sentences, masks=True)
    texts.check_lengths(rows, model.config.max_length)
    places = [np.flatnonzero(row == vocab.mask_id) for row in rows]
    for number, place in enumerate(places):
        if not len(place):
            raise InputError(f"text {number} has no {texts.MASK}: {sentences[number]!r}")
    filled, best = [None] * len(rows), _best(model.network.apply, top_k)
    for batch in batches.make(rows, model.config, size=size, positions=places):
        chosen, probabilities = jax.device_get(best(model.params, batch.inputs))
        for row, number in enumerate(batch.numbers):
            filled[number] = [
                _named(model.tokenizer, chosen[row, at], probabilities[row, at])
                for at in range(len(places[number]))
            ]
    return filled


def check_head(model):
    """Raises InputError if the masked-token head of the model was never trained."""
    if "mlm" in model.fresh:
        raise InputError(
            f"{model.source} came without a masked-token head, and the model's is random: "
            "train it, or load a checkpoint of masked language modelling"
        )


@functools.cache
def _best(apply, top_k):
    """Function (params, inputs) -> ids and probabilities [batch, predictions, top_k]."""

    @jax.jit
    def run(params, inputs):
        logits = apply(params, inputs)["mlm_logits"]
        probabilities, ids = jax.lax.top_k(jax.nn.softmax(logits), top_k)
        return ids, probabilities

    return run


def _named(tokenizer, ids, probabilities):
    return [
        Filled(tokenizer.tokens[number], float(probability), int(number))
        for number, probability in zip(ids, probabilities, strict=True)
    ]
