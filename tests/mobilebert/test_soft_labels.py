"""Tests of soft labels: the full distribution and the top k."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertgrow.core import losses
from mobilebert.distill import soft_labels
from mobilebert.distill.soft_labels import SoftLabels

VOCAB = 11
WEIGHTS = np.array([[0.25, 0.25, 0.0], [0.5, 0.0, 0.0]], np.float32)
TARGETS = np.array([[3, 5, 0], [10, 0, 0]], np.int32)


def logits(seed):
    return jnp.float32(3 * np.random.default_rng(seed).normal(size=(2, 3, VOCAB)))


def probs(logits):
    rows = np.exp(np.float64(logits))
    return rows / rows.sum(axis=-1, keepdims=True)


def test_the_loss_is_the_cross_entropy_of_the_mixed_label():
    student, teacher = logits(0), logits(1)

    loss, _ = soft_labels.distillation(student, SoftLabels(teacher), TARGETS, WEIGHTS, hard=0.3)

    # As published: one soft label, mixed of the hard one and the teacher's probs.
    label = 0.3 * np.eye(VOCAB)[TARGETS] + 0.7 * probs(teacher)
    expected = -(WEIGHTS * (label * np.log(probs(student))).sum(axis=-1)).sum()
    assert loss == pytest.approx(expected, rel=1e-6)


def test_its_parts_are_the_hard_and_the_soft_loss():
    student, labels = logits(0), SoftLabels(logits(1))

    only_hard, parts = soft_labels.distillation(student, labels, TARGETS, WEIGHTS, hard=1.0)
    only_soft, _ = soft_labels.distillation(student, labels, TARGETS, WEIGHTS, hard=0.0)

    assert only_hard == parts["mlm_loss"] == losses.cross_entropy(student, TARGETS, WEIGHTS)
    assert only_soft == parts["soft_loss"]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_student_that_agrees_has_no_gradient_and_the_teachers_entropy(temperature):
    teacher = logits(1)

    def loss(student):
        return soft_labels.soft_cross_entropy(
            student, SoftLabels(teacher), WEIGHTS, temperature
        )

    value, gradient = jax.value_and_grad(loss)(teacher)

    rows = probs(teacher / temperature)
    entropy = -(rows * np.log(rows)).sum(axis=-1)
    assert value == pytest.approx(temperature**2 * (WEIGHTS * entropy).sum(), rel=1e-5)
    np.testing.assert_allclose(gradient, np.zeros_like(gradient), atol=1e-6)


def test_the_teacher_gets_no_gradient():
    def loss(teacher):
        labels = SoftLabels(teacher)
        return soft_labels.distillation(logits(0), labels, TARGETS, WEIGHTS)[0]

    assert not jax.grad(loss)(logits(1)).any()


def test_a_high_temperature_compares_logits_at_a_fair_scale():
    """Hinton et al. (2015), 2.1: the gradient tends to that of half the squared distance."""
    student, teacher = (x - x.mean(axis=-1, keepdims=True) for x in (logits(0), logits(1)))

    def loss(student):
        return soft_labels.soft_cross_entropy(student, SoftLabels(teacher), WEIGHTS, 300.0)

    expected = WEIGHTS[..., None] * (student - teacher) / VOCAB
    # The next term of the series is smaller by logit / temperature, about 0.03.
    np.testing.assert_allclose(jax.grad(loss)(student), expected, rtol=0.1, atol=3e-3)


def test_unused_slots_do_not_count():
    student, labels = logits(0), SoftLabels(logits(1))
    noisy = jnp.where(WEIGHTS[..., None] > 0, student, logits(2))

    assert (
        soft_labels.distillation(noisy, labels, TARGETS, WEIGHTS)[0]
        == (soft_labels.distillation(student, labels, TARGETS, WEIGHTS)[0])
    )


def test_all_labels_taken_as_the_best_are_the_labels():
    student, teacher = logits(0), logits(1)
    best = soft_labels.top(teacher, VOCAB)

    for temperature in (1.0, 2.0):
        actual = soft_labels.soft_cross_entropy(student, best, WEIGHTS, temperature)
        whole = soft_labels.soft_cross_entropy(
            student, SoftLabels(teacher), WEIGHTS, temperature
        )
        assert actual == pytest.approx(float(whole), rel=1e-6)


def test_the_best_labels_share_out_the_rest():
    student, teacher = logits(0), logits(1)

    actual = soft_labels.soft_cross_entropy(student, soft_labels.top(teacher, 3), WEIGHTS)

    rows = probs(teacher)
    top = np.where(rows >= np.sort(rows)[..., -3:-2], rows, 0)
    top /= top.sum(axis=-1, keepdims=True)
    expected = -(WEIGHTS * (top * np.log(probs(student))).sum(axis=-1)).sum()
    assert actual == pytest.approx(expected, rel=1e-6)


def test_half_precision_keeps_the_best_labels():
    """A cache may hold float16, whatever constant the teacher adds to its logits."""
    student, teacher = logits(0), logits(1)
    best = soft_labels.top(teacher + 5000, 4)
    stored = best._replace(logits=best.logits.astype(jnp.float16))

    actual = soft_labels.soft_cross_entropy(student, stored, WEIGHTS)

    expected = soft_labels.soft_cross_entropy(student, soft_labels.top(teacher, 4), WEIGHTS)
    # float16 holds three digits of each distance; float32 has lost as much to the 5000.
    assert actual == pytest.approx(float(expected), rel=2e-3)


distillation = jax.jit(soft_labels.distillation)


@settings(max_examples=20)
@given(seed=st.integers(2, 99), k=st.sampled_from([None, 4]))
def test_slices_of_a_batch_add_up(seed, k):
    student, teacher = logits(seed), logits(1)
    labels = SoftLabels(teacher) if k is None else soft_labels.top(teacher, k)

    def loss(rows):
        own = jax.tree.map(lambda leaf: leaf[rows], labels)
        return distillation(student[rows], own, TARGETS[rows], WEIGHTS[rows])[0]

    parts = loss(slice(0, 1)) + loss(slice(1, 2))

    assert parts == pytest.approx(float(loss(slice(None))), rel=1e-5)
