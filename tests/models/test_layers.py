"""Tests of the basic operations of a layer: dropout and the dtype of activations."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from bertgrow.models import layers


def device(platform, **attributes):
    return types.SimpleNamespace(platform=platform, **attributes)


@pytest.mark.parametrize(
    "accelerator, expected",
    [
        (device("cpu"), "float32"),
        (device("tpu"), "bfloat16"),
        (device("gpu", compute_capability="7.5"), "float32"),  # T4
        (device("gpu", compute_capability="8.0"), "bfloat16"),  # A100
        (device("gpu", compute_capability="10.0"), "bfloat16"),
        (device("gpu", compute_capability="gfx90a"), "bfloat16"),  # AMD
    ],
)
def test_auto_is_bfloat16_where_the_device_multiplies_it(monkeypatch, accelerator, expected):
    monkeypatch.setattr(jax, "devices", lambda: [accelerator])

    assert layers.compute_dtype(tiny.config(dtype="auto")) == expected
    assert layers.compute_dtype(tiny.config(dtype="float32")) == "float32"


def test_dropout_keeps_the_mean_and_is_independent():
    x = jnp.ones((64, 50, 40))
    seeds = layers.dropout_seeds(tiny.keys(3, batch=64), 2)

    first, second = (np.asarray(layers.dropout(x, seed, 0.1)) for seed in seeds)

    dropped, other = first == 0, second == 0
    # 128,000 draws: five deviations of the fraction are 0.0042; of the mean, 0.0047.
    assert abs(dropped.mean() - 0.1) < 0.0042
    assert abs(first.mean() - 1) < 0.0047
    pairs = [(dropped[1:], dropped[:-1]), (dropped[:, 1:], dropped[:, :-1]), (dropped, other)]
    pairs.append((dropped[..., 1:], dropped[..., :-1]))
    for one, neighbour in pairs:
        # Both dropped: 0.01 expected, five deviations are 0.0014.
        assert abs((one & neighbour).mean() - 0.01) < 0.0014
    for axis in (0, 1, 2):
        others = tuple(a for a in range(3) if a != axis)
        deviation = np.sqrt(0.09 / (dropped.size / dropped.shape[axis]))
        assert np.abs(dropped.mean(axis=others) - 0.1).max() < 5 * deviation


def test_the_gradient_of_dropout_has_the_same_mask():
    x = jnp.linspace(1.0, 2.0, 4 * 6 * 8).reshape(4, 6, 8)
    (seed,) = layers.dropout_seeds(tiny.keys(0, batch=4), 1)

    value, back = jax.vjp(lambda x: layers.dropout(x, seed, 0.5), x)

    np.testing.assert_allclose(back(jnp.ones_like(x))[0], value / x, rtol=1e-6)
