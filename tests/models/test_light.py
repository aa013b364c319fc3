"""Tests of light attention, which reuses the attention probabilities of the layer before."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from bertgrow.models import encoder, layers
from bertgrow.models.bert import network

CONFIG = tiny.config(light_every=2)
RUN = jax.jit(functools.partial(encoder.run, config=CONFIG))
MASK = np.arange(6)[None] < np.array([[6], [4]])  # two sequences, one padded


def weights():
    """Weights of two layers, large enough that attention is not uniform."""
    return tiny.params(network(CONFIG), deviation=0.3)["layers"]


def hidden_states(length, seed=1):
    return np.random.default_rng(seed).standard_normal((2, length, 32), "f4")


def layer(stacked, index):
    return jax.tree.map(lambda leaf: leaf[index], stacked)


@jax.jit
def rest_of_layer(second, hidden, context):
    """Output of the second layer for the weighted sums of its values."""
    attended = layers.dense(second["out"], context, dims=2)
    hidden = layers.layer_norm(second["attention_norm"], hidden + attended)
    inner = layers.activation(CONFIG)(layers.dense(second["up"], hidden))
    changed = layers.dense(second["down"], inner)
    return layers.layer_norm(second["mlp_norm"], hidden + changed)


def test_it_uses_the_attention_probabilities_of_the_layer_before():
    hidden, stacked = hidden_states(6), weights()
    first, second = layer(stacked, 0), layer(stacked, 1)

    last, outputs, _ = RUN(stacked, hidden, MASK)

    query, keys = (layers.dense(first[name], hidden) for name in ("query", "key"))
    probs = jax.nn.softmax(encoder.scores(query, keys, MASK))
    context = jnp.einsum("bhqm,bmhk->bqhk", probs, layers.dense(second["value"], outputs[0]))
    expected = rest_of_layer(second, outputs[0], context)
    # The same float32 sums in another order; values are of order 1.
    np.testing.assert_allclose(last, expected, atol=1e-5)


def test_after_a_pooled_layer_each_position_attends_to_itself():
    stacked, memory = weights(), hidden_states(6)
    second = layer(stacked, 1)

    last, outputs, largest = RUN(
        stacked, hidden_states(4, seed=2), MASK[:, :4], memory=memory, memory_mask=MASK
    )

    context = layers.dense(second["value"], outputs[0])
    np.testing.assert_allclose(last, rest_of_layer(second, outputs[0], context), atol=1e-5)
    np.testing.assert_array_equal(largest, np.abs(outputs).max(axis=(1, 2, 3)))


@pytest.mark.parametrize("name", ["query", "key"])
def test_its_own_queries_and_keys_get_no_gradient(name):
    hidden, stacked = hidden_states(6), weights()

    def total(kernel):
        changed = {**stacked, name: {**stacked[name], "kernel": kernel}}
        return jnp.square(encoder.run(changed, hidden, MASK, config=CONFIG)[1]).sum()

    first, second = jax.jit(jax.grad(total))(stacked[name]["kernel"])

    assert np.abs(first).max() > 1e-3
    assert not second.any()
