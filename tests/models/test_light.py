"""Tests of light attention, which reuses the attention probabilities of the layer before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from bertgrow.models import encoder, layers
from bertgrow.models.bert import network

CONFIG = tiny.config(light_every=2)
MASK = np.arange(6)[None] < np.array([[6], [4]])  # two rows, one padded


def weights():
    """Of two layers, away from where they start, so that attention is no mere mean."""
    shapes = jax.eval_shape(network(CONFIG).init, jax.random.key(0))["layers"]
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: 0.3 * random.standard_normal(leaf.shape, "f4"), shapes)


def rows(length, seed=1):
    return np.random.default_rng(seed).standard_normal((2, length, 32), "f4")


def layer(stacked, index):
    return jax.tree.map(lambda leaf: leaf[index], stacked)


def finished(second, hidden, context):
    """What the second layer makes of what its heads have read."""
    attended = layers.dense(second["out"], context, dims=2)
    hidden = layers.layer_norm(second["attention_norm"], hidden + attended)
    inner = layers.activation(CONFIG)(layers.dense(second["up"], hidden))
    changed = layers.dense(second["down"], inner)
    return layers.layer_norm(second["mlp_norm"], hidden + changed)


def test_it_reads_with_the_shares_of_the_layer_before():
    hidden, stacked = rows(6), weights()
    first, second = layer(stacked, 0), layer(stacked, 1)

    last, every, _ = encoder.run(stacked, hidden, MASK, config=CONFIG)

    query, keys = (layers.dense(first[name], hidden) for name in ("query", "key"))
    shares = jax.nn.softmax(encoder.scores(query, keys, MASK))
    context = jnp.einsum("bhqm,bmhk->bqhk", shares, layers.dense(second["value"], every[0]))
    expected = finished(second, every[0], context)
    # The same float32 sums in another order; values are of order 1.
    np.testing.assert_allclose(last, expected, atol=1e-5)


def test_behind_a_pooled_layer_each_row_reads_itself():
    stacked, memory = weights(), rows(6)
    second = layer(stacked, 1)

    last, every, largest = encoder.run(
        stacked, rows(4, seed=2), MASK[:, :4], config=CONFIG, memory=memory, memory_mask=MASK
    )

    context = layers.dense(second["value"], every[0])
    np.testing.assert_allclose(last, finished(second, every[0], context), atol=1e-5)
    np.testing.assert_array_equal(largest, np.abs(every).max(axis=(1, 2, 3)))


@pytest.mark.parametrize("name", ["query", "key"])
def test_its_own_queries_and_keys_rest(name):
    hidden, stacked = rows(6), weights()

    def total(kernel):
        changed = {**stacked, name: {**stacked[name], "kernel": kernel}}
        return jnp.square(encoder.run(changed, hidden, MASK, config=CONFIG)[1]).sum()

    first, second = jax.jit(jax.grad(total))(stacked[name]["kernel"])

    assert np.abs(first).max() > 1e-3
    assert not second.any()
