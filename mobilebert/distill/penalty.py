"""A price that keeps a student small enough for float16.

float16 ends at 65,504. The released MobileBERT reaches 2.5e7 at [CLS], since without a norm
nothing holds the residual stream; and attention scores, products of two features, leave
float16 while block outputs are still in the hundreds (docs/results/mobilebert.md). Either
ends as NaN.
"""

import functools

import jax.numpy as jnp

from bertgrow.models import encoder
from mobilebert.models.maps import Watch

FLOAT16_MAX = 65504.0
# Room for what lies inside a block, and for scores that are divided by the root of the head's
# width after the product and not before: a factor of 5.7 at a width of 32.
LIMIT = FLOAT16_MAX / 8
EXCESS, GREATEST = "excess", "greatest"


def penalty(values, limit, share):
    """Squared logarithm of what exceeds a limit: a sum over each row, a mean over rows.

    Zero, with a zero gradient, for a network that stays below. Of the logarithm, since then
    the pull on a gain is twice the excess in factors of e, as useful just above the limit as
    at 2.5e7; that of a squared excess explodes. A sum over the row, since one of 512 tokens
    in one of 512 channels is enough to make NaN of it. Padding counts: 0 * inf is NaN.

    Args:
      values: float [batch, ...], e.g. a block's outputs or attention scores; those of masked
        keys do not count.
      limit: largest free magnitude, well below `FLOAT16_MAX`.
      share: float [batch], sums to one over the global batch.

    Returns:
      float32 scalar.
    """
    excess = jnp.square(jnp.log(jnp.maximum(_size(values), limit) / limit))
    return jnp.sum(excess.reshape(len(share), -1).sum(axis=1) * share)


def watch(limit, share, beside=None):
    """A watch that puts the penalty of each layer under `EXCESS`, as `total` reads it.

    Args:
      limit, share: as of `penalty`.
      beside: another `Watch`, whose dicts of terms are kept; or None.
    """
    priced = functools.partial(penalty, limit=limit, share=share)
    return Watch(*(_with(look, EXCESS, priced) for look in beside or (None, None)))


def watch_scores(beside=None):
    """A watch that puts the greatest score of each layer under `GREATEST`, masked keys aside.

    Block outputs alone do not tell whether float16 holds a student.
    """
    features, scores = beside or (lambda each, given: {}, None)
    return Watch(features, _with(scores, GREATEST, lambda scores: _size(scores).max()))


def total(seen):
    """The penalties of outputs and scores together: float32 [layers]."""
    return seen.features[EXCESS] + seen.scores[EXCESS]


def _with(look, name, figure):
    """The function of a `Watch` that adds a figure of the map to what `look` finds, if any."""

    def run(each, given):
        return (look(each, given) if look else {}) | {name: figure(each)}

    return run


def _size(values):
    """Magnitudes, float32; none where a key is masked."""
    return jnp.abs(jnp.where(values == encoder.NEVER, 0, values).astype(jnp.float32))
