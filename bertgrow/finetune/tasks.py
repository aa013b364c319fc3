"""Training tasks of fine-tuning: classes, scores, and spans of answers."""

import jax.numpy as jnp

from bertgrow.core import losses
from bertgrow.core.types import Task


def make(network, loss_and_scores, score=None):
    """Makes the `Task` of a network with a head.

    Args:
      network: `Network` with `task_logits`.
      loss_and_scores: function (logits, labels, weights) -> {name: sum over the batch}, with
        the summed `loss`.
      score: as in `Task`; its argument has the sums as means, and of every sequence `logits`,
        float32 [sequences, ...], and `numbers`, int32 [sequences], -1 at rows without one.
    """

    def prepare(batch):
        weights = batch["weights"]
        shared = weights / jnp.maximum(weights.sum(), 1)
        return batch | dict(weights=shared, real_tokens=batch["mask"].sum(axis=1))

    def loss(params, frozen, inputs, keys, step):
        del frozen, step
        logits = network.apply(params, inputs, keys)["task_logits"]
        scores = loss_and_scores(logits, inputs["labels"], inputs["weights"])
        return scores["loss"], scores | dict(tokens=inputs["real_tokens"].sum())

    def evaluate(params, frozen, batch):
        del frozen
        logits, weights = network.apply(params, batch)["task_logits"], batch["weights"]
        scores = loss_and_scores(logits, batch["labels"], weights)
        means = {name: (value, weights.sum()) for name, value in scores.items()}
        return means | dict(logits=(logits,), numbers=(batch["numbers"],))

    return Task(network.init, prepare, loss, evaluate, network.axes, score=score)


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

    All positions take part, padding too, as in Google's code. A window without the answer has
    its span at [CLS].

    Args:
      logits: float32 [batch, length, 2].
      labels: int32 [batch, 2].
      weights: float32 [batch].
    """
    ends = [(logits[..., end], labels[:, end]) for end in (0, 1)]
    return dict(loss=sum(losses.cross_entropy(*pair, weights) for pair in ends) / 2)
