"""Losses of layer-wise knowledge transfer: distances between student and teacher maps.

Every loss is a weighted sum over tokens of a distance. If the weights sum to one over the
global batch, the losses of micro-batches can be added (`types.Task`). All results are float32;
leading axes, e.g. the layers, are kept.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mobilebert.models.encoder import Hook

EPSILON = 1e-12


class Factors(NamedTuple):
    """Weights of the terms in the published command (google-research, mobilebert/README)."""

    hidden: float = 100.0
    attention: float = 1.0
    mean: float = 5000.0
    variance: float = 5.0


def hook(token_weights, factors=None, features="split"):
    """Builds the per-layer transfer losses.

    There are two differences from the published code. Means and variances are compared with
    those of the matched teacher layer; the published code compares with all 25 outputs of the
    teacher at once. The attention term is a KL divergence, zero if student and teacher are
    equal; the published cross-entropy adds the entropy of the teacher, a constant.

    Args:
      token_weights: float [batch, length], see `weigh_tokens`.
      factors: `Factors`; None for the published ones. A term with factor 0 is omitted; without
        the attention term the teacher's scores may be None.
      features: "split" into normalised, mean and variance terms, as in the published code; or
        "plain", the squared distance of the paper, weighted by `factors.hidden`.

    Returns:
      `Hook`; its functions return {name of the term: float32 [...]}.
    """
    factors = factors or Factors()
    forms = {
        "split": {
            "hidden": hidden_distance,
            "mean": mean_distance,
            "variance": variance_distance,
        },
        "plain": {"hidden": feature_distance},
    }

    def over(distances, student, teacher):
        teacher = jax.lax.stop_gradient(teacher)
        return {
            name: distance(student, teacher, token_weights)
            for name, distance in distances.items()
            if getattr(factors, name)
        }

    of_scores = {"attention": attention_distance}
    return Hook(functools.partial(over, forms[features]), functools.partial(over, of_scores))


def total(terms, num_layers, factors=None):
    """Weighted sum of `terms`, divided by the depth: float32 [layers].

    The divisor is the depth for one layer as for all, as in the published code: the loss of an
    active layer is 1/24 of its terms; the loss of all layers is their mean. This factor does
    not change LAMB's updates, but it changes clipping.

    Args:
      terms: {name: float32 [layers]}.
      num_layers: depth of the whole student, also if `terms` hold one layer.
      factors: `Factors`; None for the published ones.
    """
    factors = factors or Factors()
    return sum(getattr(factors, name) * term for name, term in terms.items()) / num_layers


def weigh_tokens(is_real, *, count="real"):
    """Equal weights that sum to one over the tokens of a global batch.

    Args:
      is_real: bool [batch, length], false at padding.
      count: "real", without padding, or "all", as published.

    Returns:
      float32 [batch, length].
    """
    counted = jnp.ones(is_real.shape, jnp.float32) if count == "all" else is_real * 1.0
    return counted / jnp.maximum(counted.sum(), 1)


def feature_distance(student, teacher, token_weights):
    """Mean squared distance of feature maps: "feature map transfer" of the paper.

    Args:
      student, teacher: float [..., batch, length, width].
      token_weights: float [batch, length].

    Returns:
      float32 [...].
    """
    gap = student.astype(jnp.float32) - teacher.astype(jnp.float32)
    return _over_tokens(jnp.square(gap).mean(axis=-1), token_weights)


def hidden_distance(student, teacher, token_weights):
    """`feature_distance` of normalised features, as in the published code."""
    return feature_distance(normalised(student), normalised(teacher), token_weights)


def mean_distance(student, teacher, token_weights):
    """Squared distance of each token's mean over channels; arguments as above."""
    gap = _statistics(student)[0] - _statistics(teacher)[0]
    return _over_tokens(jnp.square(gap)[..., 0], token_weights)


def variance_distance(student, teacher, token_weights):
    """Distance of each token's biased variance over channels; arguments as above."""
    gap = _statistics(student)[1] - _statistics(teacher)[1]
    # `jnp.abs` has gradient one at zero, which would move a student that equals its teacher.
    sign = jax.lax.stop_gradient(jnp.sign(gap))
    return _over_tokens((gap * sign)[..., 0], token_weights)


def attention_distance(student, teacher, token_weights):
    """KL(teacher || student) of attention probabilities, averaged over heads.

    "Attention transfer" of the paper. Padding keys are masked in the scores; the
    weights are those of the queries, padding included.

    Args:
      student, teacher: float [..., batch, heads, length, length], finite where masked.
      token_weights: float [batch, length], of the queries.

    Returns:
      float32 [...].
    """
    divergence = _divergence(teacher.astype(jnp.float32), student.astype(jnp.float32))
    return _over_tokens(divergence.mean(axis=-2), token_weights)


@jax.custom_vjp  # the gradient needs only the two softmaxes
def _divergence(teacher, student):
    """KL of two softmaxes over the last axis: float32 [...]; `teacher` gets no gradient.

    The maximum is subtracted from both, so that a large offset does not cost precision.
    """
    teacher, student = (x - x.max(axis=-1, keepdims=True) for x in (teacher, student))
    unnormalised = jnp.exp(teacher)
    total = unnormalised.sum(axis=-1)
    gap = jnp.sum(unnormalised * (teacher - student), axis=-1) / total
    return gap + jnp.log(jnp.exp(student).sum(axis=-1)) - jnp.log(total)


def _divergence_forward(teacher, student):
    return _divergence(teacher, student), (teacher, student)


def _divergence_backward(scores, gradient):
    teacher, student = map(jax.nn.softmax, scores)
    return jnp.zeros_like(teacher), gradient[..., None] * (student - teacher)


_divergence.defvjp(_divergence_forward, _divergence_backward)


def normalised(features):
    """Layer normalisation without scale and shift, float32."""
    mean, variance = _statistics(features)
    return (features.astype(jnp.float32) - mean) * jax.lax.rsqrt(variance + EPSILON)


def _statistics(features):
    """Mean and biased variance over channels, float32 [..., batch, length, 1]."""
    x = features.astype(jnp.float32)
    mean = x.mean(axis=-1, keepdims=True)
    return mean, jnp.square(x - mean).mean(axis=-1, keepdims=True)


def _over_tokens(values, token_weights):
    """Weighted sum of [..., batch, length] over tokens: float32 [...]."""
    weights = jnp.expand_dims(token_weights, range(values.ndim - 2))
    return jnp.sum(values * weights, axis=(-2, -1))
