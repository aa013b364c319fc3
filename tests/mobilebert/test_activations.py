"""The penalty sees what overflows, leaves the rest alone, and brings features back."""

import jax
import jax.numpy as jnp
import numpy as np

from mobilebert import activations, transfer

SHARE = transfer.token_share(np.ones((2, 3), bool))


def features(**at):
    """Zeros [2 layers, 2, 3, 4], with the given value of block 1, row 0, token 2."""
    return jnp.zeros((2, 2, 3, 4)).at[1, 0, 2].set(jnp.float32(at["token"]))


def test_features_within_the_limit_cost_nothing_and_are_not_pushed():
    within = features(token=[10.0, -10.0, 9.0, 0.0])

    cost = activations.penalty(within, 10.0, SHARE)
    gradient = jax.grad(lambda x: activations.penalty(x, 10.0, SHARE).sum())(within)

    np.testing.assert_array_equal(cost, [0, 0])
    assert not gradient.any()


def test_the_cost_is_the_squared_relative_excess():
    cost = activations.penalty(features(token=[30.0, -20.0, 10.0, 0.0]), 10.0, SHARE)

    # (2^2 + 1^2) at one of six tokens.
    np.testing.assert_allclose(cost, [0, 5 / 6], rtol=1e-6)


def test_only_the_channels_beyond_are_pushed_and_towards_zero():
    given = features(token=[30.0, -20.0, 10.0, 0.0])

    gradient = jax.grad(lambda x: activations.penalty(x, 10.0, SHARE).sum())(given)

    np.testing.assert_array_equal(np.sign(gradient[1, 0, 2]), [1, -1, 0, 0])
    assert np.count_nonzero(gradient) == 2


def test_slices_of_a_batch_add_up():
    given = jnp.float32(20 * np.random.default_rng(0).normal(size=(2, 2, 3, 4)))

    parts = [activations.penalty(given[:, i : i + 1], 5.0, SHARE[i : i + 1]) for i in (0, 1)]

    np.testing.assert_allclose(sum(parts), activations.penalty(given, 5.0, SHARE), rtol=1e-6)


def test_descent_brings_features_of_the_released_size_into_float16():
    """From 2.5e7 at one token, as in the released weights, by the plain gradient."""
    limit, given = 1e4, features(token=[-2.5e7, 8e4, 1.7e5, 1.0])
    push = jax.jit(jax.grad(lambda x: activations.penalty(x, limit, SHARE).sum()))

    for _ in range(40):
        given = given - 2e8 * push(given)

    assert np.abs(given).max() < activations.FLOAT16_MAX
    assert given[1, 0, 2, 3] == 1.0
