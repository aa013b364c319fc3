"""A price that keeps features small enough for float16.

The released MobileBERT reaches 2.5e7 at [CLS], where float16 ends at 65,504: without a norm
nothing holds the residual stream, and in float16 it ends as NaN.
"""

import jax.numpy as jnp

FLOAT16_MAX = 65504.0


def penalty(features, limit, share):
    """Squared relative excess of features over a limit, summed over channels and tokens.

    Zero, with a zero gradient, for a network that stays below. A sum over channels, since
    one of 512 is enough to overflow; and padding should count (`token_share(count="all")`),
    since a masked infinity is 0 * inf, NaN.

    Args:
      features: float [layers, batch, length, width].
      limit: largest free magnitude, well below `FLOAT16_MAX` to leave room inside a block.
      share: float [batch, length], sums to one over the global batch.

    Returns:
      float32 [layers].
    """
    excess = jnp.maximum(jnp.abs(features.astype(jnp.float32)) / limit - 1, 0)
    return jnp.sum(jnp.square(excess).sum(axis=-1) * share[None], axis=(1, 2))
