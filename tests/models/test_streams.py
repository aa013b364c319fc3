"""Tests of the low-cost encoder: pooling windows, sequence counts, equality with BERT."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from bertgrow.core import errors
from bertgrow.models import pooling
from bertgrow.models.bert import network

ORDER = jax.jit(lambda length, inputs: pooling.partition(length, inputs)[0], static_argnums=0)


@functools.cache
def built(**overrides):
    """The network, compiled once for all tests, and its parameters."""
    net = network(tiny.config(**overrides))
    return net._replace(apply=jax.jit(net.apply)), net.init(jax.random.key(0))


@pytest.mark.parametrize(
    "pool_mode, norm_order", [("mean", "post"), ("max", "post"), ("mean", "pre")]
)
def test_a_window_of_one_is_the_plain_encoder(pool_mode, norm_order):
    (plain, params), inputs = built(norm_order=norm_order), tiny.inputs()
    form = tiny.config(pool_mode=pool_mode, norm_order=norm_order)
    apart = network(form, two_streams=True)

    left, right = plain.apply(params, inputs), jax.jit(apart.apply)(params, inputs)

    counts = inputs["weights"] > 0
    # Sums over the same tokens in another order.
    np.testing.assert_allclose(
        left["mlm_logits"][counts], right["mlm_logits"][counts], atol=2e-6
    )
    np.testing.assert_allclose(left["nsp_logits"], right["nsp_logits"], atol=2e-6)


def test_a_full_length_batch_has_295_rows():
    config = tiny.config(max_length=512, pool=2)
    net = network(config)
    params = jax.eval_shape(net.init, jax.random.key(0))

    outputs = jax.eval_shape(net.apply, params, tiny.inputs(length=512, slots=76))

    assert outputs["hidden"].shape == (3, 295, 32)  # 1 + ceil(435 / 2) + 76
    assert outputs["layers"].shape == (2, 3, 295, 32)
    assert outputs["mlm_logits"].shape == (3, 76, 100)


@pytest.mark.parametrize(
    "pool, mode, rows", [(2, "mean", 11), (3, "max", 9), (2, "concat", 10)]
)
def test_pooled_rows_are_counted_as_published(pool, mode, rows):
    config = tiny.config(pool=pool, pool_mode=mode)
    net = network(config)
    params = jax.eval_shape(net.init, jax.random.key(0))

    outputs = jax.eval_shape(net.apply, params, tiny.inputs(length=16, slots=4))

    assert outputs["hidden"].shape == (3, rows, 32)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([(2, 1), (7, 3), (12, 11)]), st.data())
def test_the_partition_is_a_permutation_with_targets_in_their_slots(shape, data):
    length, slots = shape  # few shapes, because each is compiled
    used = data.draw(st.integers(0, slots))
    chosen = sorted(data.draw(st.permutations(range(1, length)))[:used])
    positions = np.array([chosen + [0] * (slots - used)], np.int32)
    weights = np.array([[0.25] * used + [0.0] * (slots - used)], np.float32)

    inputs = {"positions": positions, "weights": weights}
    order = ORDER(length, inputs)
    num_kept = length - slots

    order = np.asarray(order[0])
    others = [place for place in range(length) if place not in chosen]
    assert sorted(order) == list(range(length))
    assert list(order[num_kept : num_kept + used]) == chosen
    assert list(order[:num_kept]) == others[:num_kept]
    assert list(order[num_kept + used :]) == others[num_kept:]


def test_the_mean_divides_by_what_a_window_holds():
    kept = jnp.array([[[9.0], [1.0], [3.0], [5.0]]])  # [CLS] apart, then 1 3 | 5

    pooled = pooling.pool(kept, 2, "mean")

    np.testing.assert_array_equal(pooled[0, :, 0], [9, 2, 5])


def test_the_maximum_ignores_the_room_beside_a_window():
    kept = jnp.array([[[9.0], [-1.0], [-3.0], [-5.0]]])

    pooled = pooling.pool(kept, 2, "max")

    np.testing.assert_array_equal(pooled[0, :, 0], [9, -1, -5])


def test_a_window_of_four_lies_as_same_padding_lays_it():
    kept = jnp.arange(7.0)[None, :, None]  # 0 apart; six left, so one free place each side

    pooled = pooling.pool(kept, 4, "mean")

    np.testing.assert_array_equal(pooled[0, :, 0], [0, 2, 5])  # 1 2 3 | 4 5 6


def test_a_window_counts_if_any_of_its_tokens_does():
    mask = jnp.array([[True, True, True, True, False, False, False]])

    pooled = pooling.pool(mask, 2, "any")

    np.testing.assert_array_equal(pooled, [[True, True, True, False]])


def test_joining_weighs_each_place_in_a_window():
    net, params = built(pool=2, pool_mode="concat")
    inputs = tiny.inputs(batch=1)
    first_only = {**params, "resolution": {**params["resolution"]}}
    first_only["resolution"]["kernel"] = params["resolution"]["kernel"].at[1].set(0)

    whole, half = (net.apply(p, inputs)["hidden"] for p in (params, first_only))

    assert params["resolution"]["kernel"].shape == (2, 32, 32)
    assert not np.allclose(whole, half, atol=1e-3)


def test_joining_refuses_what_does_not_divide():
    net = network(tiny.config(pool=2, pool_mode="concat"))
    params = jax.eval_shape(net.init, jax.random.key(0))

    with pytest.raises(errors.InputError, match="divisible by pool 2, got 13"):
        jax.eval_shape(net.apply, params, tiny.inputs(length=17))


def test_predictions_need_room_beside_the_first_token():
    net = network(tiny.config(pool=2))
    params = jax.eval_shape(net.init, jax.random.key(0))

    inputs = {name: row[:, :4] for name, row in tiny.inputs().items()}

    with pytest.raises(errors.InputError, match="no room for 4 predictions"):
        jax.eval_shape(net.apply, params, inputs)


def test_the_first_layer_reads_tokens_before_they_are_pooled():
    """Two tokens of a window trade what their mean does not show; the outputs do."""
    net, inputs = network(tiny.config(num_layers=1, pool=2)), tiny.inputs(batch=1)
    (_, params), apply = built(), jax.jit(net.apply)
    kept = [place for place in range(16) if place not in inputs["positions"][0]]
    first, second = kept[1:3]  # the window after [CLS]
    rows = {"positions": np.zeros((32, 32)), "types": np.zeros((2, 32))}
    params = {**params, "embeddings": {**params["embeddings"], **rows}}
    layers = jax.tree.map(lambda weight: weight[:1], params["layers"])
    layers["value"]["kernel"] *= 50
    params = {**params, "layers": layers}

    def logits(left, right):
        tokens = inputs["tokens"].copy()
        tokens[0, [first, second]] = left, right
        words = params["embeddings"]["words"].at[11].set(-params["embeddings"]["words"][10])
        words = words.at[13].set(-params["embeddings"]["words"][12])
        changed = {**params, "embeddings": {**params["embeddings"], "words": words}}
        return apply(changed, {**inputs, "tokens": tokens})["mlm_logits"]

    # Words 10 and 11, and 12 and 13, are opposites: both windows have the mean zero.
    np.testing.assert_allclose(logits(10, 11), logits(11, 10), atol=2e-6)
    assert not np.allclose(logits(10, 11), logits(12, 13), atol=1e-5)
