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
    """The network, compiled once for all tests, and parameters."""
    net = network(tiny.config(**overrides))
    return net._replace(apply=jax.jit(net.apply)), tiny.params(net, deviation=0.02)


@pytest.mark.parametrize("pool_mode, norm_order", [("max", "post"), ("mean", "pre")])
def test_windows_of_one_token_give_the_plain_encoder(pool_mode, norm_order):
    (plain, params), inputs = built(norm_order=norm_order), tiny.inputs()
    config = tiny.config(pool_mode=pool_mode, norm_order=norm_order)
    two_streams = network(config, two_streams=True)

    expected = plain.apply(params, inputs)
    actual = jax.jit(two_streams.apply)(params, inputs)

    counts = inputs["weights"] > 0
    # Sums over the same tokens in another order.
    np.testing.assert_allclose(
        actual["mlm_logits"][counts], expected["mlm_logits"][counts], atol=2e-6
    )
    np.testing.assert_allclose(actual["nsp_logits"], expected["nsp_logits"], atol=2e-6)


def test_a_pooled_sequence_of_512_has_295_queries():
    config = tiny.config(max_length=512, pool=2)
    net = network(config)
    params = jax.eval_shape(net.init, jax.random.key(0))

    outputs = jax.eval_shape(net.apply, params, tiny.inputs(length=512, max_predictions=76))

    assert outputs["hidden"].shape == (3, 295, 32)  # 1 + ceil(435 / 2) + 76
    assert outputs["layers"].shape == (2, 3, 295, 32)
    assert outputs["mlm_logits"].shape == (3, 76, 100)


@pytest.mark.parametrize(
    "pool, mode, queries", [(2, "mean", 11), (3, "max", 9), (2, "concat", 10)]
)
def test_queries_are_counted_as_published(pool, mode, queries):
    config = tiny.config(pool=pool, pool_mode=mode)
    net = network(config)
    params = jax.eval_shape(net.init, jax.random.key(0))

    outputs = jax.eval_shape(net.apply, params, tiny.inputs(length=16, max_predictions=4))

    assert outputs["hidden"].shape == (3, queries, 32)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([(2, 1), (7, 3), (12, 11)]), st.data())
def test_the_partition_is_a_permutation_with_targets_at_the_end(shape, data):
    length, max_predictions = shape  # few shapes, because each is compiled
    used = data.draw(st.integers(0, max_predictions))
    chosen = sorted(data.draw(st.permutations(range(1, length)))[:used])
    positions = np.array([chosen + [0] * (max_predictions - used)], np.int32)
    weights = np.array([[0.25] * used + [0.0] * (max_predictions - used)], np.float32)

    inputs = {"positions": positions, "weights": weights}
    order = ORDER(length, inputs)
    num_context = length - max_predictions

    order = np.asarray(order[0])
    others = [at for at in range(length) if at not in chosen]
    assert sorted(order) == list(range(length))
    assert list(order[num_context : num_context + used]) == chosen
    assert list(order[:num_context]) == others[:num_context]
    assert list(order[num_context + used :]) == others[num_context:]


def test_the_mean_divides_by_the_tokens_of_the_window():
    context = jnp.array([[[9.0], [1.0], [3.0], [5.0]]])  # [CLS] apart, then 1 3 | 5

    pooled = pooling.pool(context, 2, "mean")

    np.testing.assert_array_equal(pooled[0, :, 0], [9, 2, 5])


def test_the_maximum_ignores_the_padding_of_a_window():
    context = jnp.array([[[9.0], [-1.0], [-3.0], [-5.0]]])

    pooled = pooling.pool(context, 2, "max")

    np.testing.assert_array_equal(pooled[0, :, 0], [9, -1, -5])


def test_windows_are_those_of_same_padding():
    context = jnp.arange(7.0)[None, :, None]  # 0, then six tokens; one entry of padding a side

    pooled = pooling.pool(context, 4, "mean")

    np.testing.assert_array_equal(pooled[0, :, 0], [0, 2, 5])  # 1 2 3 | 4 5 6


def test_a_window_with_a_token_is_not_padding():
    mask = jnp.array([[True, True, True, True, False, False, False]])

    pooled = pooling.pool(mask, 2, "any")

    np.testing.assert_array_equal(pooled, [[True, True, True, False]])


def test_concatenation_has_weights_for_each_position_of_a_window():
    net, params = built(pool=2, pool_mode="concat")
    inputs = tiny.inputs(batch=1)
    kernel = params["resolution"]["kernel"].copy()
    kernel[1] = 0
    first_only = {**params, "resolution": {**params["resolution"], "kernel": kernel}}

    all_weights, half = (net.apply(p, inputs)["hidden"] for p in (params, first_only))

    assert params["resolution"]["kernel"].shape == (2, 32, 32)
    assert not np.allclose(all_weights, half, atol=1e-3)


def test_concatenation_refuses_lengths_that_the_window_does_not_divide():
    net = network(tiny.config(pool=2, pool_mode="concat"))
    params = jax.eval_shape(net.init, jax.random.key(0))

    with pytest.raises(errors.InputError, match="divisible by pool 2, got 13"):
        jax.eval_shape(net.apply, params, tiny.inputs(length=17))


def test_a_sequence_needs_a_token_that_is_no_prediction():
    net = network(tiny.config(pool=2))
    params = jax.eval_shape(net.init, jax.random.key(0))

    inputs = {name: array[:, :4] for name, array in tiny.inputs().items()}

    with pytest.raises(
        errors.InputError, match="no place for 4 predictions and .CLS.: raise length to 5"
    ):
        jax.eval_shape(net.apply, params, inputs)


def test_keys_of_the_first_layer_are_tokens_before_pooling():
    """Two words of a window change without changing its mean; the outputs change."""
    net, inputs = network(tiny.config(num_layers=1, pool=2)), tiny.inputs(batch=1)
    (_, params), apply = built(), jax.jit(net.apply)
    context = [at for at in range(16) if at not in inputs["positions"][0]]
    first, second = context[1:3]  # the window after [CLS]
    zeros = {"positions": np.zeros((32, 32)), "types": np.zeros((2, 32))}
    params = {**params, "embeddings": {**params["embeddings"], **zeros}}
    layers = jax.tree.map(lambda weight: weight[:1], params["layers"])
    layers["value"]["kernel"] = 50 * layers["value"]["kernel"]
    params = {**params, "layers": layers}

    def logits(left, right):
        tokens = inputs["tokens"].copy()
        tokens[0, [first, second]] = left, right
        words = params["embeddings"]["words"].copy()
        words[[11, 13]] = -words[[10, 12]]
        changed = {**params, "embeddings": {**params["embeddings"], "words": words}}
        return apply(changed, {**inputs, "tokens": tokens})["mlm_logits"]

    # Words 10 and 11, and 12 and 13, are opposites: both windows have equal means.
    np.testing.assert_allclose(logits(10, 11), logits(11, 10), atol=2e-6)
    assert not np.allclose(logits(10, 11), logits(12, 13), atol=1e-5)
