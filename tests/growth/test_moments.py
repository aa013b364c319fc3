"""Tests of moments in the states of many optimisers, and of averages of weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from small_state import AXES, OLD, WIDE, assert_equal, grow, params, start

from bertgrow.core import errors
from bertgrow.growth import moments, registry, train_state

OPTIMIZERS = {
    "adamw": optax.adamw(1e-3),
    "lamb": optax.lamb(1e-3),
    "lion": optax.lion(1e-3),
    "momentum": optax.sgd(1e-3, momentum=0.9),
    "rmsprop": optax.rmsprop(1e-3),
    "clipped": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)),
    "accumulating": optax.MultiSteps(optax.adam(1e-3), 2),
    "injected": optax.inject_hyperparams(optax.adam)(learning_rate=1e-3),
    "masked": optax.masked(optax.adam(1e-3), lambda params: {k: k != "pooler" for k in params}),
}


@pytest.mark.parametrize("moments", ["reset", "copy", "exact"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_states_with_the_structure_of_the_parameters_grow(name, moments):
    optimizer = OPTIMIZERS[name]
    run = functools.partial(
        train_state.grow_state,
        growths=registry.between(OLD, WIDE),
        axes=AXES,
        optimizer_init=optimizer.init,
        moments=moments,
    )

    after = jax.eval_shape(run, start(optimizer))

    expected = jax.eval_shape(optimizer.init, after.params)
    assert jax.tree.structure(after.opt_state) == jax.tree.structure(expected)
    assert jax.tree.map(jnp.shape, after.opt_state) == jax.tree.map(jnp.shape, expected)


def test_a_masked_optimizer_keeps_the_moments_that_it_has():
    optimizer = OPTIMIZERS["masked"]
    before = start(optimizer)

    after = grow(before, registry.between(OLD, WIDE), optimizer, moments="copy")

    old, new = (s.opt_state.inner_state[0].mu["layers"]["up"] for s in (before, after))
    np.testing.assert_array_equal(new["bias"], np.repeat(old["bias"], 2, axis=1))


def with_average(optimizer):
    """The optimiser, keeping a running average of the weights as well."""

    def init(params):
        return {"inner": optimizer.init(params), "ema": params}

    return optax.GradientTransformation(init, None)


@pytest.mark.parametrize("moments", ["reset", "copy", "exact"])
def test_an_average_of_the_weights_grows_as_the_weights_do(moments):
    optimizer = with_average(optax.adam(1e-3))
    before = start(optimizer)
    (growth,) = registry.between(OLD, WIDE)

    after = grow(before, (growth,), optimizer, moments=moments)

    assert_equal(after.opt_state["ema"], growth.weights(before.opt_state["ema"], AXES)[0])
    assert not np.array_equal(
        after.opt_state["ema"]["layers"]["up"]["bias"], after.params["layers"]["up"]["bias"]
    )


def test_an_average_of_updates_is_not_taken_for_weights():
    optimizer = optax.chain(optax.adam(1e-3), optax.ema(0.9))
    before = start(optimizer)

    after = grow(before, registry.between(OLD, WIDE), optimizer, moments="copy")

    old, new = (s.opt_state[1].ema["layers"]["down"]["kernel"] for s in (before, after))
    np.testing.assert_array_equal(new, np.repeat(old, 2, axis=1))


def test_norms_of_moments_are_named_by_the_path_of_their_tree():
    opt_state = start(optax.chain(optax.clip(1.0), optax.adam(1e-3))).opt_state

    norms = moments.norms(opt_state, params())

    assert norms.keys() == {"1/0/mu", "1/0/nu"}
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(opt_state[1][0].nu)]
    np.testing.assert_allclose(
        norms["1/0/nu"], np.linalg.norm(np.concatenate(leaves)), rtol=1e-5
    )


def test_moments_of_a_dropped_weight_are_dropped():
    optimizer = optax.adam(1e-3)
    axes = {**AXES, "resolution": {"kernel": jax.P("pool_in", "embed_in", "embed")}}
    before = start(optimizer, axes, pool=2)
    growths = registry.between(small.sizes(pool=2), OLD)

    after = grow(before, growths, optimizer, axes, moments="copy")

    assert "resolution" in before.opt_state[0].mu
    assert "resolution" not in after.opt_state[0].mu
    assert_equal(after.opt_state[0].nu["layers"], before.opt_state[0].nu["layers"])


def test_an_optimizer_with_an_unknown_state_is_refused():
    growths = registry.between(OLD, WIDE)
    factored, averaged = optax.adafactor(1e-3), optax.ema(0.9)

    with pytest.raises(errors.InputError, match="v_row.* another shape"):
        grow(start(factored), growths, factored, moments="copy")
    with pytest.raises(errors.InputError, match="has no rule for ema"):
        grow(start(averaged), growths, averaged, moments="exact")
    with pytest.raises(errors.InputError, match="only between equal optimisers"):
        grow(start(optax.lion(1e-3)), growths, optax.adam(1e-3), moments="copy")
