"""Tests of copying teacher weights into a student, and of the certificate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_mobilebert as small
import tiny

from bertgrow.core import errors
from mobilebert.distill import copying, layer_losses
from mobilebert.models import mobilebert

SIZES = dict(vocab=9, embed=8, table=3, positions=5, types=2, heads=2, layers=6, body=4)
SHARED = {
    "embeddings/words": (9, 3),
    "embeddings/trigram/kernel": (3, 3, 8),
    "embeddings/trigram/bias": (8,),
    "embeddings/positions": (5, 8),
    "embeddings/types": (2, 8),
    "embeddings/norm/scale": (8,),
    "embeddings/norm/bias": (8,),
    "mlm/kernel": (8, 8),
    "mlm/bias": (8,),
    "mlm/norm/scale": (8,),
    "mlm/norm/bias": (8,),
    "mlm/extra": (9, 5),
    "mlm/output_bias": (9,),
    "nsp/kernel": (8, 2),
    "nsp/bias": (2,),
}
TEACHER = SHARED | {"layers/up/kernel": (6, 1, 16, 32), "pooler/kernel": (8, 8)}
STUDENT = SHARED | {"layers/up/kernel": (3, 4, 4, 8)}


def params(shapes, seed):
    rng, nested = np.random.default_rng(seed), {}
    for path, shape in shapes.items():
        *groups, name = path.split("/")
        node = nested
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = jnp.float32(rng.normal(size=shape))
    norm = nested["embeddings"]["norm"]
    norm["scale"], norm["bias"] = norm["scale"] * 0 + 1, norm["bias"] * 0
    return nested


def rows_of(rows, what):
    return {row["path"] for row in rows if row["what"] == what}


def assert_same(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_all_outside_the_blocks_is_copied_but_the_embedding_norm():
    student, teacher = params(STUDENT, 0), params(TEACHER, 1)

    copied, rows = copying.copy(student, teacher)

    norm = {"embeddings/norm/scale", "embeddings/norm/bias"}
    assert rows_of(rows, "copied") == SHARED.keys() - norm
    assert rows_of(rows, "fresh") == norm | {"layers"}
    assert rows_of(rows, "left") == {"pooler/kernel"}
    expected = {name: teacher[name] for name in ("embeddings", "mlm", "nsp")}
    expected["embeddings"] = expected["embeddings"] | {"norm": student["embeddings"]["norm"]}
    assert_same(copied, expected | {"layers": student["layers"]})


def test_a_pooler_and_heads_that_the_teacher_lacks_stay_fresh():
    student = params(STUDENT | {"pooler/kernel": (8, 8)}, 0)
    teacher = params(TEACHER, 1)
    del teacher["nsp"]

    copied, rows = copying.copy(student, teacher)

    assert rows_of(rows, "fresh") >= {"pooler/kernel", "nsp/kernel", "nsp/bias"}
    for name in ("pooler", "nsp"):
        assert_same(copied[name], student[name])


def test_a_student_with_layer_norm_takes_the_embedding_norm_too():
    student, teacher = params(STUDENT, 0), params(TEACHER, 1)
    teacher["embeddings"]["norm"]["scale"] *= 3

    copied, rows = copying.copy(student, teacher, embedding_norm="copy")

    assert_same(copied["embeddings"], teacher["embeddings"])
    assert rows_of(rows, "fresh") == {"layers"}


def test_the_teacher_survives_a_step_that_donates_the_student():
    teacher = params(TEACHER, 1)
    copied, _ = copying.copy(params(STUDENT, 0), teacher)

    jax.jit(lambda tree: jax.tree.map(jnp.negative, tree), donate_argnums=0)(copied)

    assert copied["embeddings"]["words"].is_deleted()
    assert not teacher["embeddings"]["words"].is_deleted()


def test_every_row_says_why():
    _, rows = copying.copy(params(STUDENT, 0), params(TEACHER, 1))

    assert all(row["why"] for row in rows)
    assert len({row["path"] for row in rows}) == len(rows) == len(SHARED) + 2


def test_least_squares_finds_the_gain_and_shift_of_a_teacher_that_has_them():
    rng = np.random.default_rng(0)
    before = rng.normal(size=(4, 6, 8)) + 1
    after = before * np.arange(1, 9) - np.arange(8)
    weights = layer_losses.weigh_tokens(np.arange(6) < np.array([[6], [3], [2], [6]]))
    after = np.where(weights[..., None] > 0, after, 99)  # padding does not count

    norm, unexplained = copying.fit(before, after, weights)

    np.testing.assert_allclose(norm["scale"], np.arange(1, 9), rtol=1e-5)
    np.testing.assert_allclose(norm["bias"], -np.arange(8), atol=1e-5)
    assert float(unexplained) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("form", ["student", "tiny"])
def test_least_squares_brings_a_networks_embeddings_close_to_the_teachers(form):
    config, teacher_config = small.form(form), small.teacher()
    student, teacher = small.built(config)[1], small.built(teacher_config)[1]
    inputs = tiny.inputs()
    weights = layer_losses.weigh_tokens(inputs["tokens"] != config.pad_id)

    def embed(copied):
        before = mobilebert.embed(config)(copied, inputs)
        return before, mobilebert.embed(teacher_config)(teacher, inputs), weights

    plain, _ = copying.copy(student, teacher)
    fitted, rows = copying.copy(student, teacher, embedding_norm="least_squares", embed=embed)

    norm = {"scale": jnp.ones(24), "bias": jnp.zeros(24)}  # as a student starts
    plain = plain | {"embeddings": plain["embeddings"] | {"norm": norm}}
    far, near = (error(*embed(params)) for params in (plain, fitted))
    assert near < far
    assert rows_of(rows, "fitted") == {"embeddings/norm/scale", "embeddings/norm/bias"}
    assert "% of its variance is unexplained" in next(
        r["why"] for r in rows if r["what"] == "fitted"
    )


def error(actual, expected, weights):
    return float(jnp.sum(jnp.square(actual - expected).sum(axis=-1) * weights))


def test_a_channel_that_never_moves_keeps_its_gain():
    before = jnp.zeros((1, 2, 3))
    norm, _ = copying.fit(before, before + 5, jnp.full((1, 2), 0.5))

    np.testing.assert_array_equal(norm["scale"], 1)
    np.testing.assert_array_equal(norm["bias"], 5)


@pytest.mark.parametrize(
    "axis, size, message",
    [
        ("vocab", 7, "vocab_size 9 and the student 7"),
        ("embed", 4, "width 8 and the student 4"),
        ("positions", 4, "max_length 5 and the student 4"),
        ("heads", 4, "num_heads 2 and the student 4"),
        ("layers", 4, "teacher of 6 layers and a student of 4"),
        ("layers", 12, "teacher of 6 layers and a student of 12"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_with_both_sizes(axis, size, message):
    with pytest.raises(errors.InputError, match=message):
        copying.check(SIZES | {axis: size}, SIZES)


def test_what_a_student_may_choose_for_itself_is_not_checked():
    copying.check(SIZES | {"body": 2, "layers": 3}, SIZES)


def test_a_leaf_of_another_shape_is_refused_with_both_shapes():
    student = params(STUDENT | {"embeddings/positions": (4, 8)}, 0)

    with pytest.raises(errors.InputError, match=r"positions is \(5, 8\) .* \(4, 8\)"):
        copying.copy(student, params(TEACHER, 1))


@pytest.mark.parametrize(
    "student, teacher, expected",
    [(3, 3, [0, 1, 2]), (2, 6, [2, 5]), (1, 4, [3])],
)
def test_each_layer_learns_from_the_last_of_its_part_of_the_teacher(student, teacher, expected):
    np.testing.assert_array_equal(copying.layer_map(student, teacher), expected)


def test_an_unknown_rule_is_refused():
    with pytest.raises(errors.InputError, match="embedding_norm is 'mean'; expected identity"):
        copying.copy(params(STUDENT, 0), params(TEACHER, 1), embedding_norm="mean")
