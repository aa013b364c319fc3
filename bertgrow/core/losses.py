"""Losses and counts as float32 weighted sums, which add up over slices of a batch."""

import jax
import jax.numpy as jnp


def cross_entropy(logits, targets, weights):
    """Weighted sum of softmax cross-entropies.

    Args:
      logits: float [..., classes].
      targets: int32 [...].
      weights: float [...], 0 at padding predictions.

    Returns:
      float32 scalar, the sum of weight times -log softmax(logits)[target].
    """
    logits = logits.astype(jnp.float32)
    losses = jax.nn.logsumexp(logits, axis=-1) - _picked(logits, targets)
    return jnp.sum(losses * weights)


def soft_cross_entropy(logits, teacher, weights, temperature=1.0, classes=None):
    """Weighted sum of cross-entropies between teacher and student probabilities.

    The sum is multiplied by the square of the temperature (Hinton et al., 2015, section 2). A
    temperature reduces gradients by this factor; without the correction the weight of this
    loss beside another one would depend on the temperature. The minimum, where the
    probabilities are equal, is the entropy of the teacher, not zero.

    Args:
      logits: float [..., classes], the student's.
      teacher: float [..., classes], or [..., k]; it gets no gradient.
      weights: float [...].
      temperature: divides the logits of both.
      classes: int32 [..., k], those of the teacher's logits; None: all, in order.

    Returns:
      float32 scalar.
    """
    logits = logits.astype(jnp.float32) / temperature
    teacher = jax.lax.stop_gradient(teacher).astype(jnp.float32) / temperature
    at_classes = logits
    if classes is not None:
        at_classes = jnp.take_along_axis(logits, classes, axis=-1)
    expected = jnp.sum(jax.nn.softmax(teacher) * at_classes, axis=-1)
    entropies = jax.nn.logsumexp(logits, axis=-1) - expected
    return temperature**2 * jnp.sum(entropies * weights)


def num_correct(logits, targets, weights):
    """Weighted number of correct predictions, float32.

    A prediction is correct if no logit is above the target's. This compares with the
    maximum because an argmax over a vocabulary is slow on a CPU.
    """
    logits = jax.lax.stop_gradient(logits).astype(jnp.float32)
    return jnp.sum((_picked(logits, targets) >= logits.max(axis=-1)) * weights)


def _picked(logits, targets):
    """Selects the logit of each target, float [...].

    Uses a comparison and a sum instead of a gather. Its gradient is computed in one pass
    with that of the softmax; the gradient of a gather is a scatter into a second array of
    logits. A sharded vocabulary also needs no resharding.
    """
    classes = jnp.expand_dims(jnp.arange(logits.shape[-1]), tuple(range(targets.ndim)))
    return jnp.where(targets[..., None] == classes, logits, 0).sum(axis=-1)
