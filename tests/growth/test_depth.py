"""Tests of depth growth, which copies whole layers by the rule of the operator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
import tiny

from bertgrow.core import errors
from bertgrow.growth import registry

AXES = {"gain": jax.P("layers", "embed"), "table": jax.P("vocab", "embed")}


def numbered(layers):
    """A tree in which every weight of layer i is i."""
    gain = jnp.broadcast_to(jnp.arange(layers, dtype=float)[:, None], (layers, 2))
    return {"gain": gain, "table": jnp.ones((5, 2))}


def deepen(name, old, new, fresh=None):
    make = registry.operator("depth", name)
    return make({"layers": old}, {"layers": new}, fresh)


@pytest.mark.parametrize(
    "name, old, new, expected",
    [
        ("stack", 3, 6, [0, 1, 2, 0, 1, 2]),
        ("stack", 3, 5, [0, 1, 2, 0, 1]),
        ("stack", 1, 4, [0, 0, 0, 0]),
        ("interleave", 3, 6, [0, 0, 1, 1, 2, 2]),
        ("interleave", 2, 5, [0, 0, 0, 1, 1]),
        ("gradual", 4, 6, [0, 1, 2, 3, 2, 3]),
        ("gradual", 2, 4, [0, 1, 0, 1]),
        ("midas", 6, 8, [0, 1, 2, 3, 2, 3, 4, 5]),
        ("midas", 4, 6, [0, 1, 0, 1, 2, 3]),
        ("midas", 3, 4, [0, 1, 1, 2]),
        ("mslt", 3, 5, [0, 1, 2, 1, 2]),
        ("mslt", 3, 6, [0, 1, 2, 0, 1, 2]),
    ],
)
def test_layers_are_copied_by_the_map(name, old, new, expected):
    grown, _ = deepen(name, old, new).weights(numbered(old), AXES)

    assert grown["gain"][:, 0].tolist() == expected
    assert grown["table"].tolist() == numbered(old)["table"].tolist()


def test_random_layers_are_on_top_with_zero_moments():
    fresh = {"gain": 10 + numbered(5)["gain"], "table": jnp.zeros((5, 2))}
    growth = deepen("random", 3, 5, lambda: fresh)

    grown, _ = growth.weights(numbered(3), AXES)
    moments, _ = growth.copies(numbered(3), AXES)

    assert grown["gain"][:, 0].tolist() == [0, 1, 2, 13, 14]
    assert moments["gain"][:, 0].tolist() == [0, 1, 2, 0, 0]
    assert grown["table"].tolist() == numbered(3)["table"].tolist()


def test_random_layers_need_a_fresh_model_of_the_right_sizes():
    with pytest.raises(errors.InputError, match="pass fresh"):
        deepen("random", 3, 5)
    with pytest.raises(errors.InputError, match="gain"):
        deepen("random", 3, 5, lambda: numbered(4)).weights(numbered(3), AXES)


def test_top_layers_are_copied_at_most_once():
    with pytest.raises(
        errors.InputError, match="3 to 7; mslt .* at most 3 layers: set num_layers to at most 6"
    ):
        deepen("mslt", 3, 7)


def test_weights_of_another_model_are_refused():
    with pytest.raises(errors.InputError, match="layers of gain has 3 units, .* give 2"):
        deepen("stack", 2, 4).weights(numbered(3), AXES)


@pytest.mark.parametrize(
    "name, old, new, words",
    [
        ("gradual", 2, 5, "set num_layers to at most 4"),
        ("midas", 5, 7, "set num_layers to 5 plus one of its divisors"),
        ("midas", 4, 3, "layers shrink"),
        ("gradual", 4, 3, "layers shrink"),
    ],
)
def test_unsupported_depths_are_refused(name, old, new, words):
    with pytest.raises(errors.InputError, match=words):
        deepen(name, old, new)


def test_light_layers_keep_their_positions():
    old, new = {"layers": 2, "light": 2}, {"layers": 4, "light": 2}

    assert registry.operator("depth", "stack")(old, new).changes
    with pytest.raises(errors.InputError, match="set light_every .* to 0"):
        registry.operator("depth", "interleave")(old, new)


def test_identity_layers_have_zero_output_matrices_only():
    net, large = small.network(norm_order="pre"), small.network(norm_order="pre", num_layers=3)
    fresh = tiny.params(large, 7)
    old, new = (small.sizes(norm_order="pre", num_layers=count) for count in (2, 3))
    growth = registry.operator("depth", "identity")(old, new, lambda: fresh)

    grown, _ = small.grow(growth.weights, tiny.params(net), net.axes)

    zero = {
        path
        for path, leaf in small.paths(grown["layers"]).items()
        if not np.asarray(leaf)[2].any()
    }
    assert zero == {"out/kernel", "out/bias", "down/kernel", "down/bias"}
    np.testing.assert_array_equal(
        grown["layers"]["up"]["kernel"][2], fresh["layers"]["up"]["kernel"][2]
    )


def test_identity_layers_of_post_norm_move_the_last_norm_to_the_top():
    net, large = small.network(), small.network(num_layers=4)
    old, new = small.sizes(), small.sizes(num_layers=4)
    params, top = tiny.params(net), small.sizes()["layers"] - 1
    growth = registry.operator("depth", "identity")(old, new, lambda: tiny.params(large, 7))

    grown, _ = small.grow(growth.weights, params, net.axes)

    layers, before = grown["layers"], params["layers"]
    for kind, value in (("scale", 1), ("bias", 0)):
        last = np.asarray(layers["mlp_norm"][kind])
        np.testing.assert_array_equal(last[3], before["mlp_norm"][kind][top])
        assert (last[top:3] == value).all()
        np.testing.assert_array_equal(last[:top], before["mlp_norm"][kind][:top])
        assert (np.asarray(layers["attention_norm"][kind])[top + 1 :] == value).all()


def test_identity_layers_claim_to_be_exact_where_the_order_of_norms_is_known():
    def claim(old, new, **both):
        make = registry.operator("depth", "identity")
        return make({"layers": old, **both}, {"layers": new, **both}, dict).claim

    assert claim(2, 3, norm_order="pre") == "exact"
    assert claim(2, 3, norm_order="post") == "exact"
    assert claim(2, 3) == "no"
    assert claim(2, 2, norm_order="post") == "exact"
