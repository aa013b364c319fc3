"""Training tasks of fine-tuning: classes, scores, and spans of answers."""

import jax.numpy as jnp

from bertgrow.core import losses
from bertgrow.core.types import Task
from bertgrow.models import task_heads


def make(network, loss_and_scores, score=None, *, length, teacher=None):
    """Makes the `Task` of a network with a head.

    Args:
      network: `Network` with `task_logits`.
      loss_and_scores: function (logits, labels, weights) -> {name: sum over the batch}, with
        the summed `loss`.
      score: as in `Task`; its argument has the sums as means, and of every sequence `logits`,
        float32 [sequences, outputs], or [sequences, length, outputs] if each token has some,
        and `numbers`, int32 [sequences], -1 at rows without one.
      length: tokens of the longest batches.
      teacher: `teachers.Teacher`, whose weights are `frozen` in training; None: labels alone.
    """

    def prepare(batch):
        weights = batch["weights"]
        shared = weights / jnp.maximum(weights.sum(), 1)
        return batch | dict(weights=shared, real_tokens=batch["mask"].sum(axis=1))

    def loss(params, frozen, inputs, keys, step):
        del step
        logits = network.apply(params, inputs, keys)["task_logits"]
        scores = loss_and_scores(logits, inputs["labels"], inputs["weights"])
        if teacher:
            scores = teacher.mixed(scores, frozen, inputs, logits)
        tokens = inputs["real_tokens"]
        padding = inputs["weights"] * (1 - tokens / inputs["tokens"].shape[1])
        return scores["loss"], scores | dict(tokens=tokens.sum(), padding=padding.sum())

    def evaluate(params, frozen, batch):
        del frozen
        logits, weights = network.apply(params, batch)["task_logits"], batch["weights"]
        scores = loss_and_scores(logits, batch["labels"], weights)
        means = {name: (value, weights.sum()) for name, value in scores.items()}
        return means | dict(logits=(_filled(logits, length),), numbers=(batch["numbers"],))

    return Task(network.init, prepare, loss, evaluate, network.axes, score=score)


def _filled(logits, length):
    """Logits of tokens, filled with those of padding up to `length`."""
    if logits.ndim == 2:
        return logits
    missing = length - logits.shape[1]
    return jnp.pad(
        logits, ((0, 0), (0, missing), (0, 0)), constant_values=task_heads.PADDING_LOGIT
    )


def classes(logits, labels, weights):
    """Cross-entropy and accuracy; `labels` int32 [batch]."""
    return dict(
        loss=losses.cross_entropy(logits, labels, weights),
        accuracy=losses.num_correct(logits, labels, weights),
    )


def scores(logits, labels, weights):
    """Squared error of scores; `labels` float32 [batch]."""
    return dict(loss=jnp.sum(jnp.square(logits[:, 0] - labels) * weights))


def spans(logits, labels, weights):
    """Mean cross-entropy of the first and the last token of an answer.

    Padding does not take part (`task_heads.spans`), so that the loss does not depend on the
    length of the batch; in Google's code it does. A window without the answer has its span at
    [CLS].

    Args:
      logits: float32 [batch, length, 2].
      labels: int32 [batch, 2].
      weights: float32 [batch].
    """
    ends = [(logits[..., end], labels[:, end]) for end in (0, 1)]
    return dict(loss=sum(losses.cross_entropy(*pair, weights) for pair in ends) / 2)
