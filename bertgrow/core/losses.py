"""Losses and counts as weighted sums, so that slices of a batch add up. All float32."""

import jax
import jax.numpy as jnp


def cross_entropy(logits, targets, weights):
    """Weighted sum of softmax cross-entropies.

    Args:
      logits: float [..., classes].
      targets: int32 [...].
      weights: float [...], 0 where nothing is to be learned.

    Returns:
      float32 scalar, the sum of weight times -log softmax(logits)[target].
    """
    logits = logits.astype(jnp.float32)
    losses = jax.nn.logsumexp(logits, axis=-1) - _picked(logits, targets)
    return jnp.sum(losses * weights)


def num_correct(logits, targets, weights):
    """Weighted sum of hits, float32: where no class scores above the target.

    A comparison with the maximum, because an argmax over a vocabulary is slow on a CPU.
    """
    logits = jax.lax.stop_gradient(logits).astype(jnp.float32)
    return jnp.sum((_picked(logits, targets) >= logits.max(axis=-1)) * weights)


def _picked(logits, targets):
    """The logit of each target [...].

    Compared and summed rather than gathered: the gradient then joins that of the softmax
    in one pass, where a gather's would be a scatter into a second array of logits, and a
    sharded vocabulary stays where it is.
    """
    classes = jnp.expand_dims(jnp.arange(logits.shape[-1]), tuple(range(targets.ndim)))
    return jnp.where(targets[..., None] == classes, logits, 0).sum(axis=-1)
