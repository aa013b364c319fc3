"""Masked language modelling: what an evaluation returns beside its metrics."""

import jax
import numpy as np
import pretrained_models

from bertgrow.core.types import Network
from bertgrow.objectives import masked_lm

VOCAB = pretrained_models.tokenizer().vocab
LENGTH, SHIFT = 12, 5


def test_an_evaluation_returns_the_predicted_token_at_every_masked_place():
    def apply(params, inputs):
        predicted = jax.nn.one_hot(inputs["positions"] + SHIFT, VOCAB.size)
        return dict(mlm_logits=predicted, layer_max=np.zeros(1, np.float32))

    task = masked_lm.masked_lm(Network(None, apply, None), vocab=VOCAB, rate=0.3,
                               max_predictions=6)  # fmt: skip
    tokens = np.full((5, LENGTH), VOCAB.size - 1, np.int32)
    tokens[:, 0], tokens[:, 8] = VOCAB.cls_id, VOCAB.sep_id
    tokens[:, 9:] = VOCAB.pad_id
    batch = dict(
        tokens=tokens, types=np.zeros_like(tokens),
        ids=np.arange(10, dtype=np.int32).reshape(5, 2),
    )  # fmt: skip

    scores = jax.jit(task.evaluate)({}, (), batch)

    (filled,) = scores["filled"]
    assert filled.shape == (masked_lm.SAMPLES, 2, LENGTH)
    assert np.array_equal(filled[:, 0], tokens[:3])
    for row in np.asarray(filled[:, 1]):
        (places,) = np.nonzero(row >= 0)
        assert 0 < len(places) < 6 and places.min() > 0 and places.max() < 8
        assert (row[places] == places + SHIFT).all()
