"""Tests of growing low-cost layers to full layers."""

import jax
import numpy as np
import pytest
import small

from bertgrow.core import errors
from bertgrow.growth import registry


def grown(**fewer):
    """Old and grown layers of the tiny model that has these fields no more."""
    net = small.network(**fewer)
    params = small.trained(net)
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


def test_light_layers_get_what_the_layer_before_matches_with_and_keep_the_rest():
    before, after = grown(light_every=2)

    for name, leaf in small.paths(after).items():
        kept, module = small.paths(before)[name], name.partition("/")[0]
        second = 0 if module in ("query", "key") else 1
        np.testing.assert_array_equal(leaf[0], kept[0])
        np.testing.assert_array_equal(leaf[1], kept[second])


def test_a_whole_layer_takes_no_low_cost_form_again():
    with pytest.raises(errors.InputError, match="rank goes from 0 to 6.*set ffn_rank"):
        registry.between(small.sizes(), small.sizes(ffn_rank=6))


def test_a_longer_table_gets_no_gradient_in_its_new_rows():
    old, new = small.network(max_length=16), small.network(max_length=40)
    fewer, more = small.sizes(max_length=16), small.sizes(max_length=40)
    (growth,) = registry.between(fewer, more)
    params, inputs = small.trained(old), small.batch()

    after, _ = small.grow(growth.weights, params, old.axes)
    truth = small.gradients(new.apply, after, inputs)
    dual, _ = small.grow(growth.gradients, small.gradients(old.apply, params, inputs), old.axes)

    table = after["embeddings"]["positions"]
    np.testing.assert_array_equal(table[16:32], table[:16])
    np.testing.assert_array_equal(table[32:], table[:8])
    assert not truth["embeddings"]["positions"][16:].any()
    # Two compilations of the same float32 sums; gradients are of size 0.1.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), dual, truth)
