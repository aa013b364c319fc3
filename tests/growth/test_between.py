"""Tests of `registry.between`: ordered operators from two size tables, and its errors."""

import functools

import jax
import numpy as np
import pytest
import small
import tiny

from bertgrow.core import errors
from bertgrow.growth import registry

OLD = {**small.sizes(pool=2), "length": 16}


def names(growths):
    return [(growth.dimension, growth.name) for growth in growths]


def test_equal_tables_need_no_growth():
    assert registry.between(OLD, dict(OLD)) == ()


def test_the_order_is_width_depth_length():
    old = {**OLD, "rank": 6, "light": 2, "positions": 16}
    new = {**OLD, "length": 32, "pool": 1, "layers": 4, "mlp": 128}

    growths = registry.between(old, new, width="equal", depth="interleave")

    assert names(growths) == [
        ("width", "equal"),
        ("width", "merge"),
        ("width", "unshare"),
        ("depth", "interleave"),
        ("length", "unpool"),
        ("length", "extend"),
        ("length", "lengthen"),
    ]
    table = old
    for growth in growths:
        table = small.sizes_after(growth, table)
    assert table == new


@pytest.mark.parametrize(
    "change, words",
    [
        ({"layers": 1}, "num_layers"),
        ({"mlp": 32}, "ffn_width"),
        ({"heads": 2}, "num_heads"),
        ({"embed": 48}, "set width to a multiple of 32"),
        ({"embed": 16}, "change width"),
        ({"kv": 16}, "num_heads together with width"),
        ({"vocab": 200}, "one vocabulary"),
        ({"positions": 16}, "change max_length"),
        ({"rank": 8}, "set ffn_rank of the later stage to 0"),
        ({"light": 2}, "set light_every of the later stage to 0"),
        ({"norm_order": "pre"}, "norm_order changes from post to pre.*in all stages"),
        ({"types": 3}, "segment types"),
        ({"length": 8}, "length falls from 16 to 8"),
        ({"length": 64}, "above max_length 32"),
        ({"pool": 4}, "pool rises"),
        ({"body": 4}, "new sizes have axis body"),
    ],
)
def test_unsupported_changes_are_refused_in_one_line(change, words):
    with pytest.raises(errors.InputError, match=words) as caught:
        registry.between(OLD, {**OLD, **change})

    assert "\n" not in str(caught.value)


def test_an_axis_without_an_operator_may_not_change():
    old = {**OLD, "body": 4}

    assert registry.between(old, dict(old)) == ()
    with pytest.raises(errors.InputError, match="no operator grows this axis"):
        registry.between(old, {**old, "body": 8})


def test_the_error_lists_the_known_operators():
    with pytest.raises(errors.InputError, match="expected one of equal, uneven, .*, msg:"):
        registry.between(OLD, {**OLD, "mlp": 128}, width="wide")
    with pytest.raises(errors.InputError, match="no operator 'merge' for width"):
        registry.between(OLD, {**OLD, "mlp": 128}, width="merge")


def test_width_and_depth_compose_in_one_step():
    """The order does not change the result."""
    net, large = small.network(), small.network(num_layers=4, ffn_width=128)
    old, new = small.sizes(), small.sizes(num_layers=4, ffn_width=128)
    params = tiny.params(net)
    growths = registry.between(old, new)

    grown, axes = small.grow(functools.partial(registry.apply, growths), params, net.axes)
    composed, _ = small.grow(registry.compose(growths).weights, params, net.axes)
    reverse, _ = small.grow(registry.compose(growths[::-1]).weights, params, net.axes)

    assert axes == large.axes
    jax.tree.map(np.testing.assert_array_equal, composed, grown)
    jax.tree.map(np.testing.assert_array_equal, reverse, grown)
    stacked = grown["layers"]["down"]["kernel"]
    np.testing.assert_array_equal(stacked[:2], stacked[2:])
    np.testing.assert_array_equal(
        stacked[0, 1::2], 0.75 * params["layers"]["down"]["kernel"][0]
    )


def test_a_composition_is_exact_only_if_all_parts_are():
    old = small.sizes()
    wide = registry.between(old, {**old, "mlp": 128})
    both = registry.between(old, {**old, "mlp": 128, "layers": 4})

    assert registry.compose(wide).claim == "exact"
    assert registry.compose(both).claim == "no"
    assert registry.compose(wide).gradients is not None
    assert registry.compose(both).gradients is None
    assert registry.compose(both).name == "uneven+stack"
    assert registry.compose(()).weights({}, {}) == ({}, {})


def test_concatenating_pools_can_only_be_removed():
    net = small.network(pool=4, pool_mode="concat")
    (growth,) = registry.between(small.sizes(pool=4), small.sizes(pool=2))

    with pytest.raises(errors.InputError, match="resolution .* pool 2"):
        growth.weights(tiny.params(net), net.axes)
