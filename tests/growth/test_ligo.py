"""Tests of LiGO: large weights as learned linear maps of small weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from bertgrow.core import errors, tree, types
from bertgrow.growth import registry
from bertgrow.growth.operators import ligo
from bertgrow.train import loop

AXES = {
    "layers": {
        "up": {"kernel": jax.P("layers", "embed_in", "mlp"), "bias": jax.P("layers", "mlp")},
        "norm": {"scale": jax.P("layers", "embed")},
    },
    "table": jax.P("vocab", "embed"),
}
OLD = {"layers": 2, "embed": 2, "mlp": 2, "vocab": 3}
KEY = jax.random.key(0)


@jax.jit
def merge(operator, weights):
    return ligo.merge(operator, weights, AXES)


def params(seed=0, sizes=OLD):
    draw = np.random.default_rng(seed)
    return jax.tree.map(
        lambda names: np.float32(draw.normal(size=[sizes[tree.base(n)] for n in names])),
        AXES, is_leaf=tree.is_spec,
    )  # fmt: skip


@pytest.mark.parametrize("new", [dict(mlp=4), dict(embed=4, mlp=4), dict(layers=4, mlp=3)])
def test_without_noise_it_starts_as_stacked_copies(new):
    new = OLD | new
    operator = ligo.init(KEY, AXES, OLD, new, noise=0.0)

    merged = merge(operator, params())

    expected, _ = registry.apply(registry.between(OLD, new, width="equal"), params(), AXES)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), merged, expected)


def test_a_weight_is_mapped_on_both_sides_and_mixed_over_layers():
    new = {**OLD, "layers": 3, "embed": 3, "mlp": 5}
    operator, weights = ligo.init(KEY, AXES, OLD, new), params()

    merged = merge(operator, weights)

    depth, width = operator["depth"]["layers.up"], operator["width"]
    for layer in range(3):  # A (sum_j w_j W_j) B^T, one layer at a time
        mixed = sum(depth[layer, j] * weights["layers"]["up"]["kernel"][j] for j in range(2))
        expected = width["embed"]["in"] @ mixed @ width["mlp"]["out"].T
        np.testing.assert_allclose(merged["layers"]["up"]["kernel"][layer], expected, rtol=1e-4)
    table = weights["table"] @ width["embed"]["out"].T
    np.testing.assert_allclose(merged["table"], table, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), a=st.floats(-2, 2), b=st.floats(-2, 2))
def test_merging_is_linear_in_the_small_weights(seed, a, b):
    operator = ligo.init(KEY, AXES, OLD, OLD | {"mlp": 3, "layers": 3})
    one, two = params(seed), params(seed + 1)

    both = merge(operator, jax.tree.map(lambda x, y: a * x + b * y, one, two))

    separate = [merge(operator, weights) for weights in (one, two)]
    sums = jax.tree.map(lambda x, y: a * x + b * y, *separate)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), both, sums)


def test_noise_makes_copies_different_and_has_the_given_norm():
    new = {**OLD, "mlp": 4000}
    plain, noisy = (ligo.init(KEY, AXES, OLD, new, noise=noise) for noise in (0.0, 0.03))

    for side in ("out", "in"):
        before, after = plain["width"]["mlp"][side], noisy["width"]["mlp"][side]
        ratio = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
        np.testing.assert_allclose(np.sqrt(np.mean(ratio**2)), 0.03, rtol=0.05)
        assert not np.array_equal(after[0], after[1])


def test_a_few_steps_train_the_maps_with_frozen_small_weights():
    """The target is a random large model."""
    new = OLD | {"mlp": 4, "layers": 3}
    target = params(9, new)

    def distance(params, frozen, inputs, keys, step):
        del frozen, inputs, keys, step
        squares = jax.tree.map(lambda a, b: jnp.square(a - b).sum(), params, target)
        return sum(jax.tree.leaves(squares)), {}

    base = types.Task(None, lambda batch: batch, distance, None, AXES)
    task, optimizer, frozen = ligo.task(base, AXES, OLD, new), optax.adam(0.1), params()
    state = types.TrainState(jnp.int32(0), task.init(KEY), None, KEY)
    state = state._replace(opt_state=optimizer.init(state.params))
    step, losses = jax.jit(loop.make_step(task, optimizer)), []

    for _ in range(20):
        state, metrics = step(state, frozen, {"ids": np.zeros((1, 2), np.uint32)})
        losses.append(float(metrics["loss"]))

    assert losses[-1] < 0.7 * losses[0]
    assert jax.tree.structure(task.axes, is_leaf=tree.is_spec) == jax.tree.structure(
        state.params
    )


def test_the_merged_model_has_the_shapes_of_the_large_one():
    old, new = small.sizes(), small.sizes(num_layers=4, width=48, num_heads=6, ffn_width=96)
    net, large = (
        small.network(),
        small.network(num_layers=4, width=48, num_heads=6, ffn_width=96),
    )

    def grown(key):
        return ligo.merge(ligo.init(key, net.axes, old, new), net.init(key), net.axes)

    actual, expected = (jax.eval_shape(make, KEY) for make in (grown, large.init))
    assert jax.tree.map(jnp.shape, actual) == jax.tree.map(jnp.shape, expected)


def test_the_flops_of_a_merge_are_those_of_its_products():
    operator = ligo.init(KEY, AXES, OLD, OLD | {"mlp": 3, "layers": 5})

    actual = ligo.flops(operator, params(), AXES)

    depth = 2 * 2 * (5 * 2 * 2 + 5 * 2 + 5 * 2)  # kernel, bias, scale
    assert actual == depth + 2 * 2 * (5 * 2 * 3 + 5 * 3)


@pytest.mark.parametrize(
    "new, words",
    [
        (OLD | {"vocab": 4}, "ligo cannot take vocab from 3 to 4; .* separate stage"),
        (OLD | {"mlp": 1}, "ligo cannot take mlp from 2 to 1"),
        (OLD, "the sizes of the stage before"),
    ],
)
def test_unsupported_sizes_are_refused(new, words):
    with pytest.raises(errors.InputError, match=words):
        ligo.init(KEY, AXES, OLD, new)
