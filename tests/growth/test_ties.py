"""Tests of ties: replicas that equal their original, at the growth and after training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
import tiny

from bertgrow.core import errors, types
from bertgrow.growth import certificate, registry, train_state

ADAM = optax.adam(1e-2)
SOURCES = np.arange(128) // 2  # the old unit of each of 128 copies


def trained_on(rule):
    """The widened model after 100 deterministic steps of Adam, its axes, and the losses."""
    net = small.network()
    (growth,) = registry.between(small.sizes(), small.sizes(ffn_width=128), width=rule)
    params, axes = small.grow(growth.weights, tiny.params(net), net.axes)
    params, losses = train(params, ADAM.init(params))
    return params, axes, losses


@jax.jit
def train(params, opt_state):
    inputs = small.batch()
    loss = functools.partial(small.loss, small.network(ffn_width=128).apply)

    def step(state, _):
        params, opt_state = state
        value, gradients = jax.value_and_grad(loss)(params, inputs)
        updates, opt_state = ADAM.update(gradients, opt_state)
        return (optax.apply_updates(params, updates), opt_state), value

    (params, _), losses = jax.lax.scan(step, (params, opt_state), length=100)
    return params, losses


@pytest.mark.slow
def test_equal_replicas_stay_tied():
    """With any optimiser: equal incoming and outgoing weights have equal gradients."""
    params, axes, losses = trained_on("equal")

    ties = certificate.ties(params, axes, "mlp", SOURCES)

    assert losses[-1] < losses[0] / 2
    assert ties["units"] == 1
    assert set(ties.values()) == {1.0}


@pytest.mark.slow
def test_uneven_replicas_become_different():
    params, axes, losses = trained_on("uneven")

    ties = certificate.ties(params, axes, "mlp", SOURCES)

    assert losses[-1] < losses[0] / 2
    assert ties["units"] == 0
    assert ties["layers/up/kernel"] == 0


@pytest.mark.slow
def test_equal_replicas_become_different_if_only_new_ones_lose_their_moments():
    """SPARKLING: equal fractions of the weights, and different moments."""
    net = small.network()
    growths = registry.between(small.sizes(), small.sizes(ffn_width=128), width="sparkling")
    params = tiny.params(net)
    adam, rest = ADAM.init(params)
    adam = adam._replace(count=jnp.int32(5), mu=params, nu=jax.tree.map(np.square, params))
    before = types.TrainState(jnp.int32(5), params, (adam, rest), jax.random.key(0))
    grown = train_state.grow_state(
        before, growths, net.axes, optimizer_init=ADAM.init, moments="asymmetric"
    )

    after, losses = train(grown.params, grown.opt_state)

    at_start, at_end = (
        certificate.ties(p, net.axes, "mlp", SOURCES)["units"] for p in (grown.params, after)
    )
    assert (at_start, at_end) == (1, 0)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("axis, fields", [("heads", {"heads": 6})])
def test_ties_are_counted_at_any_ratio(axis, fields):
    net, old = small.network(), small.sizes()
    new = {**old, **fields}
    (growth,) = registry.between(old, new, width="equal")
    params, axes = small.grow(growth.weights, tiny.params(net), net.axes)
    name = {"heads": "query", "mlp": "up"}[axis]
    params["layers"][name]["bias"] = (
        params["layers"][name]["bias"]
        .at[0]
        .add(jnp.arange(new[axis]).reshape((-1, 1) if axis == "heads" else -1))
    )

    ties = certificate.ties(params, axes, axis, growth.sources[axis])

    assert ties[f"layers/{name}/bias"] == ties["units"] == 0.5  # layer 1 is still tied
    assert ties[f"layers/{name}/kernel"] == 1


@pytest.mark.slow
def test_ties_along_the_residual_stream_count_all_layers_at_once():
    net, old = small.network(), small.sizes()
    growths = registry.between(old, {**old, "embed": 64, "heads": 8}, width="equal")
    grow = functools.partial(registry.apply, growths)
    params, axes = small.grow(grow, tiny.params(net), net.axes)

    before = certificate.ties(params, axes, "embed", growths[0].sources["embed"])["units"]
    words = params["embeddings"]["words"]
    params["embeddings"]["words"] = words.at[0, :16].add(jnp.arange(16.0))

    assert before == 1
    assert certificate.ties(params, axes, "embed", growths[0].sources["embed"])["units"] == 0.75


def test_ties_need_an_axis_that_grew():
    net = small.network()

    with pytest.raises(errors.InputError, match="name a grown axis"):
        certificate.ties(tiny.params(net), net.axes, "body", SOURCES)
    with pytest.raises(errors.InputError, match="no unit has a copy"):
        certificate.ties(tiny.params(net), net.axes, "mlp", np.arange(64))
