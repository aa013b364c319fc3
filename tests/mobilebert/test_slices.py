"""Tests that a student's held-out metrics do not depend on how the batch is split."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from bertgrow.core.types import Task
from bertgrow.train import evaluation
from mobilebert.distill import penalty, tasks
from mobilebert.models.encoder import Maps

TOKENS = np.array([[1, 2, 3, 4], [5, 0, 0, 0]], np.int32)  # 0: padding


def prepare(batch):
    return batch | {"real_tokens": (batch["tokens"] > 0).sum(axis=1)}


def with_hook(params, inputs, hook, hook_inputs):
    """One layer, whose distance from the teacher at each token is the id of the token."""
    distance = jnp.sum(inputs["tokens"] * inputs["token_weights"])[None]
    return {"hook_outputs": Maps({"hidden": distance}, {penalty.LARGEST: distance})}


@pytest.mark.parametrize("tokens, expected", [("real", 15 / 5), ("all", 15 / 8)])
def test_slices_are_weighted_by_their_number_of_counted_tokens(tokens, expected):
    plain = Task(None, prepare, None, lambda params, frozen, batch: {}, None)
    student = tasks.Student(with_hook, plain, prepare, num_layers=1, pad_id=0)
    terms = tasks.Terms(tokens=tokens)
    task = tasks.layer_transfer(student, SimpleNamespace(is_live=False), terms)

    for slices in (1, 2):
        scores = evaluation.make_evaluation(task, slices)({}, (), {"tokens": TOKENS}, 0)
        total, count = scores["transfer_hidden"]
        assert float(total[0] / count) == pytest.approx(expected)
