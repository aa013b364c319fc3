"""Penalty that keeps activations within float16 range.

The largest float16 is 65,504. The released MobileBERT reaches 2.5e7 at [CLS], because without
LayerNorm nothing bounds the residual stream. Attention scores are products of two features;
they overflow float16 while block outputs are still in the hundreds
(docs/results/mobilebert.md). Both cases give NaN.
"""

import functools

import jax.numpy as jnp

from bertgrow.models import encoder
from mobilebert.models.encoder import Hook

FLOAT16_MAX = 65504.0
# A margin for values inside a block, and for implementations that divide scores by the square
# root of the head width after the product, not before: a factor of 5.7 at a width of 32.
LIMIT = FLOAT16_MAX / 8
EXCESS, LARGEST = "excess", "greatest"


def penalty(values, limit, sequence_weights):
    """Squared logarithm of values above a limit: summed per sequence, averaged over sequences.

    It is zero, with zero gradient, for a network below the limit. It uses the logarithm
    because the gradient for a gain is then twice the excess in factors of e, useful both just
    above the limit and at 2.5e7; the gradient of a squared excess explodes. It sums over the
    sequence because one token of 512 in one channel of 512 is enough for NaN. Padding counts:
    0 * inf is NaN.

    Args:
      values: float [batch, ...], e.g. a block's outputs or attention scores; scores of masked
        keys do not count.
      limit: largest magnitude without a penalty, well below `FLOAT16_MAX`.
      sequence_weights: float [batch], sum to one over the global batch.

    Returns:
      float32 scalar.
    """
    excess = jnp.square(jnp.log(jnp.maximum(_size(values), limit) / limit))
    return jnp.sum(excess.reshape(len(sequence_weights), -1).sum(axis=1) * sequence_weights)


def hook(limit, sequence_weights, inner=None):
    """`Hook` that stores the penalty of each layer under `EXCESS`, for `total`.

    Args:
      limit, sequence_weights: as in `penalty`.
      inner: another `Hook`, whose dicts of terms are kept; or None.
    """
    of_map = functools.partial(penalty, limit=limit, sequence_weights=sequence_weights)
    return Hook(*(_with(function, EXCESS, of_map) for function in inner or (None, None)))


def largest_score_hook(inner=None):
    """`Hook` that stores the largest score of each layer under `LARGEST`, without masked keys.

    Block outputs alone are not enough to decide whether a student fits float16.
    """
    features, scores = inner or (lambda layer_map, hook_input: {}, None)
    return Hook(features, _with(scores, LARGEST, lambda scores: _size(scores).max()))


def total(hook_outputs):
    """Sum of the penalties of outputs and scores: float32 [layers]."""
    return hook_outputs.features[EXCESS] + hook_outputs.scores[EXCESS]


def _with(function, name, metric):
    """Hook function that adds a metric of the map to the terms of `function`, if any."""

    def run(layer_map, hook_input):
        terms = function(layer_map, hook_input) if function else {}
        return terms | {name: metric(layer_map)}

    return run


def _size(values):
    """Magnitudes, float32; 0 where a key is masked."""
    return jnp.abs(jnp.where(values == encoder.NEVER, 0, values).astype(jnp.float32))
