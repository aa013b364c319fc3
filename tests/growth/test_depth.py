"""Deepening copies whole layers; which, the operator says."""

import jax
import jax.numpy as jnp
import pytest

from bertgrow import errors
from bertgrow.growth import between

AXES = {"gain": jax.P("layers", "embed"), "table": jax.P("vocab", "embed")}


def numbered(layers):
    """A tree whose layer i holds i everywhere."""
    gain = jnp.broadcast_to(jnp.arange(layers, dtype=float)[:, None], (layers, 2))
    return {"gain": gain, "table": jnp.ones((5, 2))}


def deepen(name, old, new, fresh=None):
    make = between.operator("depth", name)
    return make({"layers": old}, {"layers": new}, fresh)


@pytest.mark.parametrize(
    "name, old, new, expected",
    [
        ("stack", 3, 6, [0, 1, 2, 0, 1, 2]),
        ("stack", 3, 5, [0, 1, 2, 0, 1]),
        ("stack", 1, 4, [0, 0, 0, 0]),
        ("interleave", 3, 6, [0, 0, 1, 1, 2, 2]),
        ("interleave", 2, 5, [0, 0, 0, 1, 1]),
        ("mslt", 3, 5, [0, 1, 2, 1, 2]),
        ("mslt", 3, 6, [0, 1, 2, 0, 1, 2]),
    ],
)
def test_layers_come_from_where_the_map_says(name, old, new, expected):
    grown, _ = deepen(name, old, new).weights(numbered(old), AXES)

    assert grown["gain"][:, 0].tolist() == expected
    assert grown["table"].tolist() == numbered(old)["table"].tolist()


def test_random_layers_come_on_top_and_their_moments_start_at_zero():
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


def test_the_top_layers_are_copied_only_once():
    with pytest.raises(errors.InputError, match="3 to 7; mslt .* at most 6"):
        deepen("mslt", 3, 7)


def test_weights_of_another_model_are_refused():
    with pytest.raises(errors.InputError, match="layers of gain has 3 units .* 2"):
        deepen("stack", 2, 4).weights(numbered(3), AXES)
