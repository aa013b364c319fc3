"""Pre-training distillation: a teacher's whole distribution beside the hidden token."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bertgrow.core import losses


class SoftLabels(NamedTuple):
    """A teacher's logits, at every piece of the vocabulary or at its best guesses."""

    logits: Any  # float [batch, slots, k], up to a constant for each slot
    pieces: Any = None  # int32 [batch, slots, k]; None: all of them, in order


def top(logits, k):
    """The `k` best guesses, for a cache of labels; their shares then sum to one by themselves.

    The largest logit is taken as zero: half precision then keeps the likely ones best.

    Args:
      logits: float [batch, slots, vocab].

    Returns:
      `SoftLabels` with float32 logits, descending.
    """
    best, pieces = jax.lax.top_k(logits.astype(jnp.float32), k)
    return SoftLabels(best - best[..., :1], pieces)


def distillation(logits, labels, targets, share, *, hard=0.5, temperature=1.0):
    """`hard` times the masked-token loss and `1 - hard` times that of the soft labels.

    "Pre-training distillation" of Sun et al. (2020), where `hard` is alpha, 0.5 in the
    published code. The code's temperature multiplies the features before a layer norm, which
    removes it again; ours divides logits.

    Args:
      logits: float [batch, slots, vocab], the student's at the hidden positions.
      labels: `SoftLabels` of the teacher; no gradient flows into them.
      targets: int32 [batch, slots].
      share: float [batch, slots], sums to one over the global batch, 0 in unused slots.
      temperature: of both sides of the soft labels.

    Returns:
      float32 scalar, and its parts {"mlm_loss", "soft_loss"}: sums that add up over slices.
    """
    parts = {
        "mlm_loss": losses.cross_entropy(logits, targets, share),
        "soft_loss": soft_cross_entropy(logits, labels, share, temperature),
    }
    return hard * parts["mlm_loss"] + (1 - hard) * parts["soft_loss"], parts


def soft_cross_entropy(logits, labels, share, temperature=1.0):
    """Weighted sum of cross-entropies between the teacher's and the student's shares.

    Times the square of the temperature (Hinton et al., 2015, section 2): a softened loss has
    gradients smaller by that much, and `hard` would mean another thing at each temperature.
    At its least, where the shares agree, it is the teacher's entropy and not zero.

    Args as in `distillation`; returns a float32 scalar.
    """
    logits = logits.astype(jnp.float32) / temperature
    wanted = jax.lax.stop_gradient(labels.logits).astype(jnp.float32) / temperature
    at_labels = logits
    if labels.pieces is not None:
        at_labels = jnp.take_along_axis(logits, labels.pieces, axis=-1)
    expected = jnp.sum(jax.nn.softmax(wanted) * at_labels, axis=-1)
    entropies = jax.nn.logsumexp(logits, axis=-1) - expected
    return temperature**2 * jnp.sum(entropies * share)
