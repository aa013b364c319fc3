"""Tests of growing low-cost layers to full layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
import tiny

from bertgrow.core import errors
from bertgrow.growth import registry


def grown(**fewer):
    """Old layers of the tiny model with these fields, and grown layers without them."""
    net = small.network(**fewer)
    params = tiny.params(net)
    (growth,) = registry.between(small.sizes(**fewer), small.sizes())
    after, _ = small.grow(growth.weights, params, net.axes)
    return params["layers"], after["layers"]


def test_merged_matrices_are_the_products_of_their_factors():
    before, after = grown(ffn_rank=6)

    for name in ("up", "down"):
        first, second = before[f"{name}_rank"]["kernel"], before[name]["kernel"]
        expected = np.einsum("lar,lrb->lab", first, second)
        # Six float32 products in another order; the sums are of order 0.01.
        np.testing.assert_allclose(after[name]["kernel"], expected, atol=1e-8)
        np.testing.assert_array_equal(after[name]["bias"], before[name]["bias"])
    assert after.keys() == before.keys() - {"up_rank", "down_rank"}


def test_light_layers_get_the_queries_and_keys_of_the_layer_before():
    before, after = grown(light_every=2)

    for name, leaf in small.paths(after).items():
        old, module = small.paths(before)[name], name.partition("/")[0]
        source = 0 if module in ("query", "key") else 1
        np.testing.assert_array_equal(leaf[0], old[0])
        np.testing.assert_array_equal(leaf[1], old[source])


def test_a_full_layer_cannot_become_a_low_cost_one():
    with pytest.raises(errors.InputError, match="rank goes from 0 to 6.*set ffn_rank"):
        registry.between(small.sizes(), small.sizes(ffn_rank=6))


def test_a_longer_table_gets_no_gradient_at_new_positions():
    """A sum over 16 positions in place of a model."""
    axes = {"table": jax.P("positions", "embed")}
    (growth,) = registry.between(small.sizes(max_length=16), small.sizes(max_length=40))
    params = {"table": np.random.default_rng(0).standard_normal((16, 3), "f4")}

    @jax.jit
    @jax.grad
    def gradient(params):
        return jnp.square(params["table"][:16] @ jnp.arange(1.0, 4.0)).sum()

    grown, _ = growth.weights(params, axes)
    dual, _ = growth.gradients(gradient(params), axes)

    np.testing.assert_array_equal(grown["table"][16:32], grown["table"][:16])
    np.testing.assert_array_equal(grown["table"][32:], grown["table"][:8])
    expected = gradient(grown)["table"]
    assert not expected[16:].any()
    np.testing.assert_allclose(dual["table"], expected, rtol=1e-6)
