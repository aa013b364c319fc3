"""Tests of transfer losses: zero for equal maps, additive, independent of padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_mobilebert as small
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilebert.distill import layer_losses
from mobilebert.models.encoder import Maps

LAYERS, BATCH, HEADS, LENGTH, WIDTH = 2, 4, 2, 5, 8
IS_REAL = np.arange(LENGTH) < np.array([[5], [4], [2], [5]])
TERMS = {
    "feature": layer_losses.feature_distance,
    "hidden": layer_losses.hidden_distance,
    "mean": layer_losses.mean_distance,
    "variance": layer_losses.variance_distance,
    "attention": layer_losses.attention_distance,
}
total_loss = jax.jit(lambda *args: small.transfer_losses(*args, num_layers=LAYERS)[0])


def maps(seed, scale=1.0):
    """Random features and scores, keys of padding masked as in the encoder."""
    rng = np.random.default_rng(seed)
    features = scale * rng.normal(size=(LAYERS, BATCH, LENGTH, WIDTH)) + rng.normal()
    scores = scale * rng.normal(size=(LAYERS, BATCH, HEADS, LENGTH, LENGTH))
    scores = np.where(IS_REAL[:, None, None], scores, -1e30)
    return Maps(jnp.float32(features), jnp.float32(scores))


def of(name, maps):
    return maps.scores if name == "attention" else maps.features


def distance(name, student, teacher, weights):
    return TERMS[name](of(name, student), of(name, teacher), weights)


@pytest.mark.parametrize("name", TERMS)
def test_every_loss_and_its_gradient_are_zero_on_itself(name):
    teacher, weights = of(name, maps(0)), layer_losses.weigh_tokens(IS_REAL)

    def total(student):
        return TERMS[name](student, teacher, weights).sum()

    value, gradient = jax.value_and_grad(total)(teacher)

    assert value == 0
    # exp(log_softmax) and the softmax of the gradient round differently.
    np.testing.assert_allclose(gradient, np.zeros_like(gradient), atol=1e-7)


@pytest.mark.parametrize("name", TERMS)
def test_every_loss_is_above_zero_for_different_maps(name):
    actual = distance(name, maps(0), maps(1), layer_losses.weigh_tokens(IS_REAL))

    assert actual.shape == (LAYERS,)
    assert actual.dtype == jnp.float32
    assert (actual > 1e-3).all()


@pytest.mark.parametrize("name", TERMS)
def test_half_precision_is_computed_in_float32(name):
    student, teacher = (jax.tree.map(lambda x: x.astype("bfloat16"), maps(i)) for i in (0, 1))
    wide = [jax.tree.map(jnp.float32, maps) for maps in (student, teacher)]
    weights = layer_losses.weigh_tokens(IS_REAL)

    np.testing.assert_array_equal(
        distance(name, student, teacher, weights), distance(name, *wide, weights)
    )


def test_terms_equal_a_plain_reference():
    student, teacher = maps(0), maps(1)
    weights = np.array(layer_losses.weigh_tokens(IS_REAL), np.float64)

    _, terms = small.transfer_losses(student, teacher, weights, num_layers=24)

    s, t = np.float64(student.features), np.float64(teacher.features)
    norm = [(x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) for x in (s, t)]
    rows = [np.exp(np.float64(maps.scores)) for maps in (student, teacher)]
    rows = [row / row.sum(-1, keepdims=True) for row in rows]
    ratio = np.log(np.where(rows[1] > 0, rows[1], 1) / np.where(rows[0] > 0, rows[0], 1))
    by_token = {
        "hidden": ((norm[0] - norm[1]) ** 2).mean(-1),
        "mean": (s.mean(-1) - t.mean(-1)) ** 2,
        "variance": np.abs(s.var(-1) - t.var(-1)),
        "attention": (rows[1] * ratio).sum(-1).mean(2),
    }
    assert terms.keys() == by_token.keys()
    for name, values in by_token.items():
        expected = (values * weights).sum((1, 2))
        np.testing.assert_allclose(terms[name], expected, rtol=1e-5, err_msg=name)


def test_attention_is_the_cross_entropy_less_the_teachers_entropy():
    student, teacher = maps(0).scores, maps(1).scores
    weights = layer_losses.weigh_tokens(IS_REAL)

    def cross_entropy(scores):
        rows = -jnp.sum(jax.nn.softmax(teacher) * jax.nn.log_softmax(scores), axis=-1)
        return jnp.sum(rows.mean(axis=2) * weights[None], axis=(1, 2))

    actual = layer_losses.attention_distance(student, teacher, weights)

    expected = cross_entropy(student) - cross_entropy(teacher)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_the_loss_weighs_its_terms_as_published():
    student, teacher, weights = maps(0), maps(1), layer_losses.weigh_tokens(IS_REAL)

    loss, terms = small.transfer_losses(student, teacher, weights, num_layers=24)

    expected = 100 * terms["hidden"] + terms["attention"]
    expected += 5000 * terms["mean"] + 5 * terms["variance"]
    np.testing.assert_allclose(loss, expected / 24, rtol=1e-6)


def test_one_layer_alone_has_the_loss_it_has_among_all():
    student, teacher, weights = maps(0), maps(1), layer_losses.weigh_tokens(IS_REAL)
    second = [jax.tree.map(lambda x: x[1:], maps) for maps in (student, teacher)]

    together, alone = total_loss(student, teacher, weights), total_loss(*second, weights)

    np.testing.assert_allclose(alone, together[1:], rtol=1e-6)


def test_the_paper_has_one_term_for_features():
    student, teacher, weights = maps(0), maps(1), layer_losses.weigh_tokens(IS_REAL)
    factors = layer_losses.Factors(hidden=2.0, attention=0.0)

    loss, terms = small.transfer_losses(
        student._replace(scores=None), teacher._replace(scores=None), weights,
        num_layers=1, factors=factors, features="plain",
    )  # fmt: skip

    assert list(terms) == ["hidden"]
    np.testing.assert_allclose(loss, 2 * distance("feature", student, teacher, weights))


def test_gradients_reach_the_student_and_never_the_teacher():
    weights = layer_losses.weigh_tokens(IS_REAL)

    def total(student, teacher):
        return small.transfer_losses(student, teacher, weights, num_layers=2)[0].sum()

    to_student, to_teacher = jax.grad(total, argnums=(0, 1))(maps(0), maps(1))

    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in to_student)
    assert all(float(jnp.abs(leaf).max()) == 0 for leaf in to_teacher)


@pytest.mark.parametrize("name", TERMS)
def test_a_layers_loss_has_no_gradient_at_other_layers(name):
    teacher, weights = of(name, maps(1)), layer_losses.weigh_tokens(IS_REAL)

    gradient = jax.grad(lambda s: TERMS[name](s, teacher, weights)[1])(of(name, maps(0)))

    assert not gradient[0].any()
    assert gradient[1].any()


@pytest.mark.parametrize("name", TERMS)
def test_padding_is_excluded_by_its_weight(name):
    student, other, teacher = maps(0), maps(2), maps(1)
    features = jnp.where(IS_REAL[:, :, None], student.features, other.features)
    queries = jnp.where(IS_REAL[:, None, :, None], student.scores, other.scores)
    with_noise = Maps(features, queries)
    real, all_tokens = (
        layer_losses.weigh_tokens(IS_REAL, count=count) for count in ("real", "all")
    )

    clean = distance(name, student, teacher, real)

    np.testing.assert_array_equal(distance(name, with_noise, teacher, real), clean)
    both = [distance(name, maps, teacher, all_tokens) for maps in (student, with_noise)]
    assert not np.isclose(*both).any()


def test_token_weights_sum_to_one_and_are_equal_where_tokens_count():
    real, all_tokens = (
        layer_losses.weigh_tokens(IS_REAL, count=count) for count in ("real", "all")
    )

    np.testing.assert_allclose(real, IS_REAL / 16)
    np.testing.assert_allclose(all_tokens, np.full((4, 5), 1 / 20))
    assert float(layer_losses.weigh_tokens(np.zeros((1, 3), bool)).sum()) == 0


@settings(max_examples=15)  # all_tokens cut compiles anew
@given(
    cut=st.integers(1, BATCH - 1),
    seed=st.integers(2, 30),
    count=st.sampled_from(["real", "all"]),
)
def test_slices_of_a_batch_add_up(cut, seed, count):
    student, teacher = maps(seed), maps(1)
    weights = layer_losses.weigh_tokens(IS_REAL, count=count)

    def loss(rows):
        pair = (jax.tree.map(lambda x: x[:, rows], maps) for maps in (student, teacher))
        return total_loss(*pair, weights[rows])

    whole = loss(slice(None))

    np.testing.assert_allclose(loss(slice(cut)) + loss(slice(cut, None)), whole, rtol=1e-5)


@pytest.mark.parametrize("level", [0.0, 1e2, 1e4])
def test_a_divergence_is_as_precise_for_scores_far_from_zero(level):
    """Scores of a student without norms reach 1e5; steps of a sixteenth are exact there."""
    rng = np.random.default_rng(0)
    teacher, student = (np.round(16 * rng.normal(size=(1, 2, 5, 5))) / 16 for _ in range(2))
    weights, both = np.full((1, 5), 0.2, np.float32), np.stack([teacher, student])

    actual = layer_losses.attention_distance(
        jnp.float32(student + level), jnp.float32(teacher - level), weights
    )

    log_probs = both - np.log(np.exp(both).sum(axis=-1, keepdims=True))
    rows = (np.exp(log_probs[0]) * (log_probs[0] - log_probs[1])).sum(axis=-1)
    np.testing.assert_allclose(actual, rows.mean(), rtol=1e-5)


def test_a_sequence_of_padding_alone_has_no_divergence_from_a_cached_teacher():
    """All keys are masked in the student; the teacher's are cached as logarithms."""
    student, teacher = jnp.full((1, 1, 4, 4), -1e30), jnp.full((1, 1, 4, 4), -np.log(4))

    actual = layer_losses.attention_distance(student, teacher, jnp.full((1, 4), 0.25))

    assert abs(actual) < 1e-6
