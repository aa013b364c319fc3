"""Masked language modelling, with or without next sentences, as a `Task`."""

import jax
import jax.numpy as jnp

from bertgrow.core import keys, losses
from bertgrow.core.types import Task
from bertgrow.data.sequences import masking


def masked_lm(network, *, vocab, rate, slots, whole_word=False, next_sentence=False, seed=0):
    """The objective of Devlin et al. (2019), "Masked LM" and "Next Sentence Prediction".

    Masks are drawn inside the step from the rows' identities, so that a row is hidden in the
    same way on any host and after any restart; a new epoch hides other tokens. The loss is
    the mean cross-entropy over the predictions of the global batch, plus that over its pairs.

    Args:
      network: the model, a `Network`.
      vocab: a `Vocab`.
      rate: share of a row's candidates to hide.
      slots: int, room for predictions in a row.
      whole_word: hide whole words instead of single pieces.
      next_sentence: add the next-sentence loss; batches then hold `is_random`.
      seed: of the masks.
    """

    def hide(batch, show):
        key = keys.derive(jax.random.key(seed), keys.Purpose.MASKS)
        inputs, positions, targets, weights = masking.mask_tokens(
            batch["tokens"], batch["ids"], key,
            vocab=vocab, rate=rate, slots=slots, whole_word=whole_word, show=show,
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
                # The last held-out batch may be filled up with rows of padding alone.
                real = (batch["tokens"][:, 0] == vocab.cls_id).astype(jnp.float32)
                found |= _counted("nsp", outputs["nsp_logits"], inputs["is_random"], real)
        found["activation_max"] = (outputs["layer_max"], None)
        return found

    return Task(network.init, prepare, loss, evaluate, network.axes)


def _shares(weights, is_real):
    """What a whole batch weighs its parts by: predictions and rows each sum to one.

    Args:
      weights: float32 [batch, slots], 1 where a prediction counts.
      is_real: bool [batch, length], false at padding.
    """
    rows = len(weights)
    return dict(
        share=weights / jnp.maximum(weights.sum(), 1),
        row_share=jnp.full(rows, 1 / rows),
        real_tokens=is_real.sum(axis=1),
    )


def _scores(name, logits, targets, weights):
    """{name_loss, name_accuracy} as sums over `weights`."""
    return {
        f"{name}_loss": losses.cross_entropy(logits, targets, weights),
        f"{name}_accuracy": losses.num_correct(logits, targets, weights),
    }


def _counted(name, logits, targets, weights):
    """The same scores as (sum, count) pairs, for `Task.evaluate`."""
    scores = _scores(name, logits, targets, weights)
    return {score: (value, weights.sum()) for score, value in scores.items()}
