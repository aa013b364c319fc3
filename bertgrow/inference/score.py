"""Scores texts by pseudo-perplexity: each token is predicted from all others."""

import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core.errors import InputError
from bertgrow.inference import batches, fill, texts

HELD = 4096  # masked sequences in memory at once


class Score(NamedTuple):
    """Pseudo-perplexity of a text (Salazar et al., 2020, section 2.2)."""

    perplexity: float  # exp(loss)
    loss: float  # nats per token
    tokens: int  # without [CLS] and [SEP]


def score(model, sentences, *, size=32):
    """Computes the pseudo-perplexity of each text.

    Every token is replaced by [MASK], one at a time, and predicted from the others. A text of
    more tokens than the model has positions is cut into consecutive parts, each with the
    context of its own part.

    Args:
      model: `Model`.
      sentences: list of str.
      size: sequences of a batch at most.

    Returns:
      A list of `Score`.
    """
    fill.check_head(model)
    rows = texts.encode(model.tokenizer, sentences)
    for number, row in enumerate(rows):
        if len(row) < 3:
            raise InputError(f"text {number} has no tokens: {sentences[number]!r}")
    totals, losses = np.zeros(len(rows)), _losses(model.network.apply)
    masked = _masked(rows, model)
    while held := list(itertools.islice(masked, HELD)):
        owners, sequences, places, targets = zip(*held, strict=True)
        positions = [np.array([place]) for place in places]
        for batch in batches.make(sequences, model.config, size=size, positions=positions):
            expected = np.zeros(len(batch.inputs["tokens"]), np.int32)
            expected[: len(batch.numbers)] = [targets[number] for number in batch.numbers]
            values = jax.device_get(losses(model.params, batch.inputs, expected))
            for loss, number in zip(values, batch.numbers, strict=False):
                totals[owners[number]] += float(loss)
    counts = [len(row) - 2 for row in rows]
    means = [float(total / count) for total, count in zip(totals, counts, strict=True)]
    return [
        Score(math.exp(mean), mean, count) for mean, count in zip(means, counts, strict=True)
    ]


def _masked(rows, model):
    """Yields (text, sequence with one [MASK], its position, the token that was there)."""
    vocab, room = model.tokenizer.vocab, model.config.max_length - 2
    for owner, row in enumerate(rows):
        inner = row[1:-1]
        for start in range(0, len(inner), room):
            part = inner[start : start + room]
            whole = np.concatenate([[vocab.cls_id], part, [vocab.sep_id]]).astype(np.int32)
            for place in range(1, len(part) + 1):
                sequence = whole.copy()
                sequence[place] = vocab.mask_id
                yield owner, sequence, place, int(whole[place])


@functools.cache
def _losses(apply):
    """Function (params, inputs, targets int32 [batch]) -> float32 [batch], nats."""

    @jax.jit
    def run(params, inputs, targets):
        logits = apply(params, inputs)["mlm_logits"][:, 0]
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[:, None], axis=1)[:, 0]

    return run
