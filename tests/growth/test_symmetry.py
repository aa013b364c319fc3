"""Tests of new units that break symmetry: from the layer above, with noise, or a mean."""

import jax
import numpy as np
import pytest
import small
import tiny

from bertgrow.core import errors
from bertgrow.growth import registry
from bertgrow.models import layers


def grown(rule, fewer=None, **more):
    """(network, parameters) of the tiny model and of the grown one, and the Growth."""
    fewer = fewer or {}
    old, new = small.network(**fewer), small.network(**fewer, **more)
    growth = registry.between(small.sizes(**fewer), small.sizes(**fewer, **more), width=rule)[0]
    params = tiny.params(old)
    after, _ = small.grow(growth.weights, params, old.axes)
    return (old, params), (new, after), growth


def test_new_units_come_from_the_layer_above():
    (_, before), (_, after), _ = grown("aki", ffn_width=128)
    up, wider = (params["layers"]["up"]["kernel"] for params in (before, after))
    down, taller = (params["layers"]["down"]["kernel"] for params in (before, after))

    np.testing.assert_array_equal(wider[0, :, 64:], up[1])
    np.testing.assert_array_equal(wider[1, :, 64:], up[1])  # there is no layer above the last
    np.testing.assert_array_equal(wider[:, :, :64], up)
    np.testing.assert_array_equal(taller[:, :64], down / 2)
    np.testing.assert_array_equal(taller[:, 64:], down / 2)


def test_one_layer_has_no_layer_above():
    old = small.sizes(num_layers=1)

    with pytest.raises(
        errors.InputError, match="num_layers .* to 2 or more, or choose width 'fpi'"
    ):
        registry.between(old, {**old, "mlp": 128}, width="aki")


def test_noise_cancels_over_the_tiles_and_is_ten_decibel_below_them():
    (_, before), (_, after), _ = grown("hyperclone", width=96, num_heads=12)
    kernel = np.asarray(before["layers"]["up"]["kernel"])  # [layers, 32, 64]
    tiles = np.asarray(after["layers"]["up"]["kernel"]).reshape(2, 3, 32, 64)

    noise = tiles - kernel[:, None] / 3

    np.testing.assert_allclose(noise.sum(axis=1), 0, atol=1e-6)
    # 12,288 draws of two degrees of freedom in three: three deviations are 5 %.
    assert np.square(kernel / 3).mean() / np.square(noise).mean() == pytest.approx(10, rel=0.05)


def test_all_tiles_are_different():
    (_, _), (_, after), _ = grown("hyperclone", width=64, num_heads=8)

    for name in ("query", "value", "up"):
        first, second = np.split(np.asarray(after["layers"][name]["kernel"]), 2, axis=1)
        assert np.abs(first - second).min() > 0


@pytest.mark.parametrize("rule, is_kept", [("lemon", True), ("net2net", False)])
def test_layer_norm_at_any_ratio(rule, is_kept):
    """12 units become 20; with LEMON the norm of old units is unchanged, of new ones zero."""
    random = np.random.default_rng(0)
    axes = {
        "table": jax.P("vocab", "embed"),
        "norm": {"scale": jax.P("embed"), "bias": jax.P("embed")},
    }
    norm = {"scale": random.standard_normal(12), "bias": random.standard_normal(12)}
    params = {"table": random.standard_normal((5, 12)), "norm": norm}
    params = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    growth = registry.operator("width", rule)({"embed": 12}, {"embed": 20})

    after, _ = growth.weights(params, axes)

    expected, actual = (layers.layer_norm(p["norm"], p["table"]) for p in (params, after))
    # Means of 12 and of 20 numbers of order 1 in float32.
    assert np.allclose(actual[:, :12], expected, atol=2e-6) == is_kept
    if is_kept:
        np.testing.assert_allclose(actual[:, 12:], 0, atol=2e-6)


@pytest.mark.parametrize("norm_order, is_kept", [("pre", True), ("post", False)])
def test_pre_norm_layers_keep_the_mean(norm_order, is_kept):
    fewer = dict(norm_order=norm_order, ffn_width=40)
    (old, before), (new, after), growth = grown("lemon", fewer, width=48, num_heads=6)

    nets = ((old, before), (new, after))
    expected, actual = (jax.jit(net.apply)(params, small.batch()) for net, params in nets)

    assert growth.claim == "no"  # for the head of masked tokens either way
    equal = np.allclose(actual["hidden"][..., :32], expected["hidden"], atol=2e-5)
    assert equal == is_kept
    if is_kept:  # float32 sums in another order through two layers
        np.testing.assert_allclose(actual["hidden"][..., 32:], 0, atol=2e-5)
        np.testing.assert_allclose(actual["nsp_logits"], expected["nsp_logits"], atol=2e-5)


def test_filled_units_are_no_replicas():
    *_, growth = grown("lemon", width=48, num_heads=6)

    assert growth.sources["embed"].tolist() == [*range(32)] + [-1] * 16
