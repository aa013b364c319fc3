"""Pre-training distillation: cross-entropy with soft labels and with the true tokens."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bertgrow.core import losses


class SoftLabels(NamedTuple):
    """A teacher's logits, for the whole vocabulary or for its top k tokens."""

    logits: Any  # float [batch, predictions, k], up to a constant per prediction
    tokens: Any = None  # int32 [batch, predictions, k], token ids; None: all, in order


def top(logits, k):
    """Selects the `k` largest logits, for a cache of soft labels.

    The softmax is later taken over these `k` alone. The largest logit is shifted to zero, so
    that half precision is most accurate for the likely tokens.

    Args:
      logits: float [batch, predictions, vocab].

    Returns:
      `SoftLabels` with float32 logits, descending.
    """
    best, tokens = jax.lax.top_k(logits.astype(jnp.float32), k)
    return SoftLabels(best - best[..., :1], tokens)


def distillation(logits, labels, targets, weights, *, hard=0.5, temperature=1.0):
    """Sum of `hard` times the masked-token loss and `1 - hard` times the soft-label loss.

    "Pre-training distillation" of Sun et al. (2020), where `hard` is alpha, 0.5 in the
    published code. In the published code the temperature multiplies the features before a
    layer norm, which cancels it; here it divides the logits.

    Args:
      logits: float [batch, predictions, vocab], the student's, at the masked positions.
      labels: `SoftLabels` of the teacher; they get no gradient.
      targets: int32 [batch, predictions].
      weights: float [batch, predictions], sum to one over the global batch; 0 for padding
        predictions.
      temperature: divides the logits of student and teacher in the soft-label loss.

    Returns:
      float32 scalar, and its parts {"mlm_loss", "soft_loss"}: sums, which can be added over
      micro-batches.
    """
    parts = {
        "mlm_loss": losses.cross_entropy(logits, targets, weights),
        "soft_loss": soft_cross_entropy(logits, labels, weights, temperature),
    }
    return hard * parts["mlm_loss"] + (1 - hard) * parts["soft_loss"], parts


def soft_cross_entropy(logits, labels, weights, temperature=1.0):
    """`losses.soft_cross_entropy` of `SoftLabels`."""
    return losses.soft_cross_entropy(
        logits, labels.logits, weights, temperature, classes=labels.tokens
    )
