"""Tests of masked growth: new units are masked exactly, ramp in, and keep step counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertgrow.core import errors, tree, types
from bertgrow.growth import registry
from bertgrow.growth.operators import masked

OLD = {"embed": 2, "mlp": 2, "heads": 1, "layers": 2, "norm_order": "pre"}
AXES = {
    "layers": {
        "norm": {"scale": jax.P("layers", "embed")},
        "out": {
            "kernel": jax.P("layers", "heads_in", "embed"),
            "bias": jax.P("layers", "embed"),
        },
        "up": {"kernel": jax.P("layers", "embed_in", "mlp"), "bias": jax.P("layers", "mlp")},
        "down": {
            "kernel": jax.P("layers", "mlp_in", "embed"),
            "bias": jax.P("layers", "embed"),
        },
    },
    "table": jax.P("vocab", "embed"),
}


def ones(sizes, value=1.0):
    """A tree of the sizes, filled with `value`."""
    sizes = sizes | {"vocab": 3}
    return jax.tree.map(
        lambda names: np.full([sizes[tree.base(name)] for name in names], np.float32(value)),
        AXES, is_leaf=tree.is_spec,
    )  # fmt: skip


def grow(new):
    """The grown tree, with old weights 1 and new weights 5, and the masks."""
    growth = registry.compose(
        registry.between(OLD, new, width="msg", depth="msg", fresh=lambda: ones(new, 5.0))
    )
    return growth.weights(ones(OLD), AXES)[0], growth.masks


@settings(max_examples=20, deadline=None)
@given(
    mlp=st.sampled_from([2, 5]), heads=st.sampled_from([1, 3]),
    layers=st.sampled_from([2, 3]), value=st.floats(0, 1),
)  # fmt: skip
def test_masks_scale_sums_over_new_units_and_terms_of_new_layers(mlp, heads, layers, value):
    grown, masks = grow(OLD | {"mlp": mlp, "heads": heads, "layers": layers})

    masked_params = masked.mask_params(grown, AXES, masks, value)

    layer = np.where(np.arange(layers) < 2, 1.0, value)  # of the terms that layers add
    for name, units, old in (("down", mlp, 2), ("out", heads, 1)):
        unit = np.where(np.arange(units) < old, 1.0, value)
        factor = layer[:, None, None] * unit[:, None]
        kernel = grown["layers"][name]["kernel"]
        np.testing.assert_allclose(
            masked_params["layers"][name]["kernel"], kernel * factor, rtol=1e-6
        )
        bias = grown["layers"][name]["bias"]
        np.testing.assert_allclose(
            masked_params["layers"][name]["bias"], bias * layer[:, None], 1e-6
        )
    for name in ("norm", "up"):
        jax.tree.map(
            np.testing.assert_array_equal, masked_params["layers"][name], grown["layers"][name]
        )
    np.testing.assert_array_equal(masked_params["table"], grown["table"])


def test_old_units_and_layers_come_first_unchanged():
    grown, masks = grow(OLD | {"mlp": 3, "layers": 3})

    up = [[[1, 1, 5], [1, 1, 5]], [[1, 1, 5], [1, 1, 5]], [[5, 5, 5], [5, 5, 5]]]
    np.testing.assert_array_equal(grown["layers"]["up"]["kernel"], up)
    assert masks["mlp"].tolist() == masks["layers"].tolist() == [False, False, True]


def test_the_mask_rises_linearly_over_the_ramp():
    grown, masks = grow(OLD | {"mlp": 3})
    task = types.Task(None, None, None, None, AXES)

    ramped = masked.ramp_in(task, masks, start=100, ramp=4)

    masked_params = jax.jit(ramped.masked_params)
    trees = [masked_params(grown, step) for step in (100, 101, 103, 104, 900)]
    new = [float(params["layers"]["down"]["kernel"][0, 2, 0]) / 5 for params in trees]
    np.testing.assert_allclose(new, [0, 0.25, 0.75, 1, 1])
    assert masked.ramp_in(task, {}, start=100, ramp=0) is task


def test_gradients_of_masked_weights_are_the_dual_of_the_old_ones():
    """Moments can therefore be exact. One FFN takes the place of a model."""
    axes = {"up": jax.P("embed_in", "mlp"), "down": jax.P("mlp_in", "embed")}
    draw = np.random.default_rng(0)
    small, large = (
        {
            "up": draw.normal(size=(2, mlp)).astype(np.float32),
            "down": draw.normal(size=(mlp, 2)).astype(np.float32),
        }
        for mlp in (2, 3)
    )
    new = OLD | {"mlp": 3}
    growth = registry.operator("width", "msg")(OLD, new, lambda: large)

    def loss(params, masks):
        params = masked.mask_params(params, axes, masks, 0.0)
        return jnp.square(jnp.tanh(jnp.ones((1, 2)) @ params["up"]) @ params["down"]).sum()

    actual = jax.grad(loss)(growth.weights(small, axes)[0], growth.masks)

    expected, _ = growth.gradients(jax.grad(loss)(small, {}), axes)
    assert expected["up"][0, 2] == expected["down"][2, 0] == 0
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), actual, expected)


@pytest.mark.parametrize(
    "new, words",
    [
        (OLD | {"embed": 4}, "embed goes from 2 to 4; msg .* 'uneven'"),
        (OLD | {"mlp": 1}, "mlp shrinks from 2 to 1; .* ffn_width"),
        (OLD | {"layers": 4, "norm_order": "post"}, "needs norm_order 'pre'; .* 'stack'"),
    ],
)
def test_unsupported_masks_are_refused(new, words):
    old = OLD | {"norm_order": new["norm_order"]}

    with pytest.raises(errors.InputError, match=words):
        registry.between(old, new, width="msg", depth="msg", fresh=dict)


def test_new_weights_need_a_fresh_model_of_the_new_sizes():
    with pytest.raises(errors.InputError, match="pass fresh"):
        registry.between(OLD, OLD | {"mlp": 3}, width="msg")
    with pytest.raises(
        errors.InputError, match="layers/down/kernel of shape .2, 3, 2. or larger"
    ):
        growth = registry.operator("width", "msg")(OLD, OLD | {"mlp": 3}, lambda: ones(OLD))
        growth.weights(ones(OLD), AXES)
