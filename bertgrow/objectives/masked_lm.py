"""Masked language modelling, with or without next-sentence prediction, as a `Task`."""

import jax
import jax.numpy as jnp

from bertgrow.core import keys, losses
from bertgrow.core.types import Task
from bertgrow.data.sequences import masking

SAMPLES = 3  # sequences of a held-out batch whose predictions are returned


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

    mask = _masking(vocab, rate, max_predictions, whole_word, next_sentence, seed)

    def prepare(batch):
        inputs = mask(batch, "80/10/10")
        return inputs | _weights(inputs["weights"], batch["tokens"] != vocab.pad_id)

    def loss(params, frozen, inputs, dropout_keys, step):
        del frozen, step
        outputs = network.apply(params, inputs, dropout_keys)
        metrics = _scores(
            "mlm", outputs["mlm_logits"], inputs["targets"], inputs["loss_weights"]
        )
        total = metrics["mlm_loss"]
        if next_sentence:
            labels, weights = inputs["is_random"], inputs["sequence_weights"]
            metrics |= _scores("nsp", outputs["nsp_logits"], labels, weights)
            total = total + metrics["nsp_loss"]
        return total, metrics | dict(tokens=inputs["real_tokens"].sum())

    def evaluate(params, frozen, batch):
        del frozen
        metrics = {}
        for name, show in (("mlm", "80/10/10"), ("mask", "mask")):
            inputs = mask(batch, show)
            outputs = network.apply(params, inputs)
            logits, weights = outputs["mlm_logits"], inputs["weights"]
            metrics |= _counted(name, logits, inputs["targets"], weights)
            if next_sentence and name == "mlm":
                # The last held-out batch may be filled up with empty sequences, all padding.
                real = (batch["tokens"][:, 0] == vocab.cls_id).astype(jnp.float32)
                metrics |= _counted("nsp", outputs["nsp_logits"], inputs["is_random"], real)
        metrics["activation_max"] = (outputs["layer_max"], None)
        metrics["filled"] = (_filled(batch["tokens"], logits, inputs),)
        return metrics

    return Task(network.init, prepare, loss, evaluate, network.axes)


def _masking(vocab, rate, max_predictions, whole_word, next_sentence, seed):
    """Returns a function of a batch, and of how masked tokens show, that masks its tokens."""

    def mask(batch, show):
        key = keys.derive(jax.random.key(seed), keys.Purpose.MASKS)
        inputs, positions, targets, weights = masking.mask_tokens(
            batch["tokens"], batch["ids"], key,
            vocab=vocab, rate=rate, max_predictions=max_predictions,
            whole_word=whole_word, show=show,
        )  # fmt: skip
        masked = dict(tokens=inputs, types=batch["types"], positions=positions)
        masked |= dict(targets=targets, weights=weights)
        if next_sentence:
            masked["is_random"] = batch["is_random"]
        return masked

    return mask


def _weights(weights, is_real):
    """Weights in the loss of a whole batch: predictions sum to one, sequences sum to one.

    Args:
      weights: float32 [batch, max_predictions], 1 at predictions and 0 at padding predictions.
      is_real: bool [batch, length], false at padding tokens.
    """
    batch = len(weights)
    return dict(
        loss_weights=weights / jnp.maximum(weights.sum(), 1),
        sequence_weights=jnp.full(batch, 1 / batch),
        real_tokens=is_real.sum(axis=1),
    )


def _filled(tokens, logits, inputs):
    """The first sequences of a batch, and what a model predicts for them.

    Args:
      tokens: int32 [batch, length], before masking.
      logits: float32 [batch, max_predictions, vocab].
      inputs: `positions` and `weights` of the predictions.

    Returns:
      int32 [`SAMPLES`, 2, length]: for each sequence its tokens, and the predicted tokens, -1
      where nothing was masked.
    """
    tokens, length = tokens[:SAMPLES], tokens.shape[1]
    weights, positions = inputs["weights"][:SAMPLES], inputs["positions"][:SAMPLES]
    best = logits[:SAMPLES].argmax(axis=-1).astype(tokens.dtype)
    places = jnp.where(weights > 0, positions, length)  # padding predictions: outside
    rows = jnp.arange(len(tokens))[:, None]
    predicted = jnp.full_like(tokens, -1).at[rows, places].set(best, mode="drop")
    return jnp.stack([tokens, predicted], axis=1)


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
