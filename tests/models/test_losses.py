"""Tests of losses: equal to textbook formulas, additive over micro-batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bertgrow.core import losses


def example():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 7)).astype(np.float32) * 3
    targets = rng.integers(0, 7, (2, 3)).astype(np.int32)
    weights = np.array([[1, 0.5, 0], [2, 0, 1]], np.float32)
    return logits, targets, weights


def test_cross_entropy_is_the_weighted_sum_of_log_probabilities():
    logits, targets, weights = example()

    loss = losses.cross_entropy(logits, targets, weights)

    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    picked = np.take_along_axis(probs, targets[..., None], axis=-1)[..., 0]
    assert loss == pytest.approx(-(weights * np.log(picked)).sum(), rel=1e-6)


def test_its_gradient_is_the_probability_minus_the_target():
    logits, targets, weights = example()

    gradient = jax.grad(losses.cross_entropy)(logits, targets, weights)

    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = weights[..., None] * (probs - np.eye(7)[targets])
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_slices_of_a_batch_add_up():
    logits, targets, weights = example()

    for total in (losses.cross_entropy, losses.num_correct):
        parts = [total(logits[i], targets[i], weights[i]) for i in range(2)]
        assert sum(parts) == pytest.approx(float(total(logits, targets, weights)), rel=1e-6)


def test_correct_predictions_are_counted_by_weight():
    logits = jnp.array([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    targets, weights = jnp.array([1, 1, 2]), jnp.array([1.0, 1.0, 0.5])

    assert losses.num_correct(logits, targets, weights) == 1.5


def test_large_logits_do_not_overflow():
    loss = losses.cross_entropy(jnp.array([[1e4, 0.0]]), jnp.array([1]), jnp.ones(1))

    assert loss == 1e4
