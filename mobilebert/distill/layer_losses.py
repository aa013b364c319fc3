"""Losses of layer-wise knowledge transfer: distances between student and teacher maps.

Every loss is a sum over tokens of the weight `share` times a distance. If `share` sums to one
over the global batch, the losses of micro-batches can be added (`types.Task`). All results
are float32; leading axes, e.g. the layers, are kept.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mobilebert.models.maps import Watch

EPSILON = 1e-12


class Factors(NamedTuple):
    """Weights of the terms in the published command (google-research, mobilebert/README)."""

    hidden: float = 100.0
    attention: float = 1.0
    mean: float = 5000.0
    variance: float = 5.0


def judge(share, factors=None, features="split"):
    """Builds the per-layer transfer losses.

    There are two differences from the published code. Means and variances are compared with
    those of the matched teacher layer; the published code compares with all 25 outputs of the
    teacher at once. The attention term is a KL divergence, zero if student and teacher are
    equal; the published cross-entropy adds the entropy of the teacher, a constant.

    Args:
      share: float [batch, length], see `token_share`.
      factors: `Factors`; None for the published ones. A term with factor 0 is omitted; without
        the attention term the teacher's scores may be None.
      features: "split" into normalised, mean and variance terms, as in the published code; or
        "plain", the squared distance of the paper, weighted by `factors.hidden`.

    Returns:
      `Watch`, a hook; its functions return {name of the term: float32 [...]}.
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
        wanted = {name: each for name, each in distances.items() if getattr(factors, name)}
        return {name: each(student, teacher, share) for name, each in wanted.items()}

    by_scores = {"attention": attention_distance}
    return Watch(*(functools.partial(over, each) for each in (forms[features], by_scores)))


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


def token_share(is_real, *, count="real"):
    """Equal weights that sum to one over the tokens of a global batch.

    Args:
      is_real: bool [batch, length], false at padding.
      count: "real", without padding, or "all", as published.

    Returns:
      float32 [batch, length].
    """
    counted = jnp.ones(is_real.shape, jnp.float32) if count == "all" else is_real * 1.0
    return counted / jnp.maximum(counted.sum(), 1)


def feature_distance(student, teacher, share):
    """Mean squared distance of feature maps: "feature map transfer" of the paper.

    Args:
      student, teacher: float [..., batch, length, width].
      share: float [batch, length].

    Returns:
      float32 [...].
    """
    gap = student.astype(jnp.float32) - teacher.astype(jnp.float32)
    return _over_tokens(jnp.square(gap).mean(axis=-1), share)


def hidden_distance(student, teacher, share):
    """`feature_distance` of normalised features, as in the published code."""
    return feature_distance(normalised(student), normalised(teacher), share)


def mean_distance(student, teacher, share):
    """Squared distance of each token's mean over channels; arguments as above."""
    gap = _statistics(student)[0] - _statistics(teacher)[0]
    return _over_tokens(jnp.square(gap)[..., 0], share)


def variance_distance(student, teacher, share):
    """Distance of each token's biased variance over channels; arguments as above."""
    gap = _statistics(student)[1] - _statistics(teacher)[1]
    # `jnp.abs` has gradient one at zero, which would move a student that equals its teacher.
    sign = jax.lax.stop_gradient(jnp.sign(gap))
    return _over_tokens((gap * sign)[..., 0], share)


def attention_distance(student, teacher, share):
    """KL(teacher || student) of attention probabilities, averaged over heads.

    "Attention transfer" of the paper. Padding keys are masked in the scores; `share` weights
    the queries, padding included.

    Args:
      student, teacher: float [..., batch, heads, length, length], finite where masked.
      share: float [batch, length], of the queries.

    Returns:
      float32 [...].
    """
    divergence = _divergence(teacher.astype(jnp.float32), student.astype(jnp.float32))
    return _over_tokens(divergence.mean(axis=-2), share)


@jax.custom_vjp  # the gradient needs only the two softmaxes
def _divergence(wanted, given):
    """KL of two softmaxes over the last axis: float32 [...]; `wanted` gets no gradient.

    The maximum is subtracted from both, so that a large offset does not cost precision.
    """
    wanted, given = (each - each.max(axis=-1, keepdims=True) for each in (wanted, given))
    shares = jnp.exp(wanted)
    total = shares.sum(axis=-1)
    gap = jnp.sum(shares * (wanted - given), axis=-1) / total
    return gap + jnp.log(jnp.exp(given).sum(axis=-1)) - jnp.log(total)


def _divergence_forward(wanted, given):
    return _divergence(wanted, given), (wanted, given)


def _divergence_backward(kept, gradient):
    wanted, given = map(jax.nn.softmax, kept)
    return jnp.zeros_like(wanted), gradient[..., None] * (given - wanted)


_divergence.defvjp(_divergence_forward, _divergence_backward)


def normalised(features):
    """Layer normalisation without scale and shift, float32."""
    mean, variance = _statistics(features)
    return (features.astype(jnp.float32) - mean) * jax.lax.rsqrt(variance + EPSILON)


def _statistics(features):
    """Mean and biased variance over channels, float32 [..., batch, length, 1]."""
    wide = features.astype(jnp.float32)
    mean = wide.mean(axis=-1, keepdims=True)
    return mean, jnp.square(wide - mean).mean(axis=-1, keepdims=True)


def _over_tokens(values, share):
    """Weighted sum of [..., batch, length] over tokens: float32 [...]."""
    share = jnp.expand_dims(share, range(values.ndim - 2))
    return jnp.sum(values * share, axis=(-2, -1))
