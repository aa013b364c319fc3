"""Masked language modelling, with or without next-sentence prediction, as a `Task`."""

import jax
import jax.numpy as jnp

from bertgrow.core import keys, losses
from bertgrow.core.types import Task
from bertgrow.data.sequences import masking


def masked_lm(
    network, *, vocab, rate, max_predictions, whole_word=False, next_sentence=False, seed=0
):
    """The objective of Devlin et al. (2019), "Masked LM" and "Next Sentence Prediction".

    Masks are drawn inside the step from the ids of the sequences. So a sequence has the same
    masks on any host and after any restart; a new epoch has other masks. The loss is the mean
    cross-entropy over the predictions of the global batch, plus the mean over its pairs.

    Args:
      network: `Network`, the model.
      vocab: `Vocab`.
      rate: masking rate, fraction of the candidate tokens of a sequence.
      max_predictions: int, predictions of a sequence, padding included.
      whole_word: whether to mask whole words instead of single tokens.
      next_sentence: whether to add the next-sentence loss; batches then have `is_random`.
      seed: seed of the masks.
    """

    def hide(batch, show):
        key = keys.derive(jax.random.key(seed), keys.Purpose.MASKS)
        inputs, positions, targets, weights = masking.mask_tokens(
            batch["tokens"], batch["ids"], key,
            vocab=vocab, rate=rate, max_predictions=max_predictions,
            whole_word=whole_word, show=show,
        )  # fmt: skip
        hidden = dict(tokens=inputs, types=batch["types"], positions=positions)
        hidden |= dict(targets=targets, weights=weights)
        if next_sentence:
            hidden["is_random"] = batch["is_random"]
        return hidden

    def prepare(batch):
        inputs = hide(batch, "80/10/10")
        return inputs | _shares(inputs["weights"], batch["tokens"] != vocab.pad_id)

    def loss(params, frozen, inputs, key, step):
        del frozen, step
        outputs = network.apply(params, inputs, key)
        metrics = _scores("mlm", outputs["mlm_logits"], inputs["targets"], inputs["share"])
        total = metrics["mlm_loss"]
        if next_sentence:
            labels, share = inputs["is_random"], inputs["row_share"]
            metrics |= _scores("nsp", outputs["nsp_logits"], labels, share)
            total = total + metrics["nsp_loss"]
        return total, metrics | dict(tokens=inputs["real_tokens"].sum())

    def evaluate(params, frozen, batch):
        del frozen
        found = {}
        for name, show in (("mlm", "80/10/10"), ("mask", "mask")):
            inputs = hide(batch, show)
            outputs = network.apply(params, inputs)
            logits, weights = outputs["mlm_logits"], inputs["weights"]
            found |= _counted(name, logits, inputs["targets"], weights)
            if next_sentence and name == "mlm":
                # The last held-out batch may be filled up with empty sequences, all padding.
                real = (batch["tokens"][:, 0] == vocab.cls_id).astype(jnp.float32)
                found |= _counted("nsp", outputs["nsp_logits"], inputs["is_random"], real)
        found["activation_max"] = (outputs["layer_max"], None)
        return found

    return Task(network.init, prepare, loss, evaluate, network.axes)


def _shares(weights, is_real):
    """Weights in the loss of a whole batch: predictions sum to one, sequences sum to one.

    Args:
      weights: float32 [batch, max_predictions], 1 at predictions and 0 at padding predictions.
      is_real: bool [batch, length], false at padding tokens.
    """
    rows = len(weights)
    return dict(
        share=weights / jnp.maximum(weights.sum(), 1),
        row_share=jnp.full(rows, 1 / rows),
        real_tokens=is_real.sum(axis=1),
    )


def _scores(name, logits, targets, weights):
    """Loss and accuracy as sums weighted by `weights`, with `name` as prefix."""
    return {
        f"{name}_loss": losses.cross_entropy(logits, targets, weights),
        f"{name}_accuracy": losses.num_correct(logits, targets, weights),
    }


def _counted(name, logits, targets, weights):
    """The metrics of `_scores` as (sum, count) pairs, for `Task.evaluate`."""
    scores = _scores(name, logits, targets, weights)
    return {score: (value, weights.sum()) for score, value in scores.items()}
