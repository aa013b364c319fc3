"""Tests of growing a train state: moments by policy; counts, step and key unchanged."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small

from bertgrow.core import errors, types
from bertgrow.growth import moments, registry, train_state

OLD = small.sizes()
WIDE = {**OLD, "mlp": 128}
DEEP = {**OLD, "layers": 4}


def start(optimizer, net=None, step=3):
    """A state whose moments are all different from zero and from each other."""
    net = net or small.network()
    params = small.trained(net)
    filled = [
        np.full(leaf.shape, step, leaf.dtype)
        if leaf.ndim == 0
        else np.random.default_rng(i).random(leaf.shape).astype(leaf.dtype)
        for i, leaf in enumerate(jax.tree.leaves(jax.eval_shape(optimizer.init, params)))
    ]
    opt_state = jax.tree.unflatten(
        jax.tree.structure(jax.eval_shape(optimizer.init, params)), filled
    )
    return types.TrainState(jnp.int32(step), params, opt_state, jax.random.key(1))


def grow(before, growths, optimizer, **options):
    axes = small.network().axes
    run = functools.partial(
        train_state.grow_state,
        growths=growths,
        axes=axes,
        optimizer_init=optimizer.init,
        **options,
    )
    return jax.jit(run)(before)


def assert_equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_step_and_key_are_carried_through():
    optimizer = optax.adam(1e-3)
    before = start(optimizer)

    after = grow(before, registry.between(OLD, WIDE), optimizer)

    assert after.step == 3
    assert jax.random.key_data(after.key).tolist() == jax.random.key_data(before.key).tolist()


def test_reset_moments_are_those_of_a_fresh_optimizer():
    optimizer = optax.adam(1e-3)

    after = grow(start(optimizer), registry.between(OLD, WIDE), optimizer, moments="reset")

    assert_equal(after.opt_state, optimizer.init(after.params))


def test_copied_moments_come_from_their_source_undivided():
    optimizer = optax.adam(1e-3)
    before = start(optimizer)
    growths = registry.between(OLD, {**DEEP, "mlp": 128})

    after = grow(before, growths, optimizer, moments="copy").opt_state[0]

    for name in ("mu", "nu"):
        old = getattr(before.opt_state[0], name)["layers"]["down"]["kernel"]
        new = getattr(after, name)["layers"]["down"]["kernel"]
        np.testing.assert_array_equal(new, np.tile(np.repeat(old, 2, axis=1), (2, 1, 1)))


def test_asymmetric_moments_start_from_zero_in_new_units_and_layers_alone():
    optimizer = optax.adam(1e-3)
    before = start(optimizer)
    growths = registry.between(OLD, {**DEEP, "mlp": 128})

    after = grow(before, growths, optimizer, moments="asymmetric").opt_state[0]

    old, new = (s.nu["layers"]["down"]["kernel"] for s in (before.opt_state[0], after))
    expected = np.zeros((4, 128, 32), np.float32)
    expected[:2, ::2] = old
    np.testing.assert_array_equal(new, expected)
    np.testing.assert_array_equal(
        after.mu["embeddings"]["words"], before.opt_state[0].mu["embeddings"]["words"]
    )
    assert after.count == 3


def test_sparkling_needs_asymmetric_moments():
    growths = registry.between(OLD, WIDE, width="sparkling")

    with pytest.raises(errors.InputError, match="needs moments 'asymmetric'.* has 'copy'"):
        grow(start(optax.adam(1e-3)), growths, optax.adam(1e-3), moments="copy")


def test_exact_moments_follow_the_dual_rule():
    """The kernel of up gets a and a^2 of mu and nu, down is copied."""
    optimizer = optax.adam(1e-3)
    before = start(optimizer).opt_state[0]

    after = grow(
        start(optimizer), registry.between(OLD, WIDE), optimizer, moments="exact"
    ).opt_state[0]

    share = np.tile([0.25, 0.75], 64)
    for name, part in (("mu", share), ("nu", share**2)):
        old, new = (getattr(s, name)["layers"] for s in (before, after))
        up = np.repeat(old["up"]["kernel"], 2, axis=2) * part
        # The square of a square root, in float32.
        np.testing.assert_allclose(new["up"]["kernel"], up, rtol=1e-6)
        down = np.repeat(old["down"]["kernel"], 2, axis=1)
        np.testing.assert_allclose(new["down"]["kernel"], down, rtol=1e-6)


@pytest.mark.slow
def test_exact_moments_are_those_the_grown_model_would_have_gathered():
    """Five steps of Adam; the grown model sees the same batches at the same weights."""
    with jax.enable_x64(True):
        optimizer = optax.adam(1e-2)
        net = small.network()
        new = {**OLD, "mlp": 96, "heads": 6}
        (growth,) = registry.between(OLD, new)
        params = small.trained(net, dtype=np.float64)
        widen = jax.jit(lambda params: growth.weights(params, net.axes)[0])

        @jax.jit
        def step(params, opt_state, gradients):
            updates, opt_state = optimizer.update(gradients, opt_state)
            return optax.apply_updates(params, updates), opt_state

        opt_state, truth = optimizer.init(params), optimizer.init(widen(params))
        for _ in range(5):
            gradients = small.gradients(small.plain, params, small.batch())
            grown_gradients = small.gradients(small.plain, widen(params), small.batch())
            _, truth = step(widen(params), truth, grown_gradients)
            params, opt_state = step(params, opt_state, gradients)
        before = types.TrainState(5, params, opt_state, None)

        after = grow(before, (growth,), optimizer, moments="exact")

    assert after.opt_state[0].count == 5
    for name in ("mu", "nu"):
        found, expected = (small.paths(getattr(s[0], name)) for s in (after.opt_state, truth))
        for path in expected:
            np.testing.assert_allclose(
                found[path], expected[path], rtol=1e-9, atol=1e-14, err_msg=path
            )


@pytest.mark.parametrize(
    "moments, counts, expected",
    [
        ("reset", None, 0),
        ("reset", "keep", 3),
        ("copy", None, 3),
        ("copy", "reset", 0),
    ],
)
def test_counts_go_with_the_moments_unless_told(moments, counts, expected):
    optimizer = optax.adam(1e-3)
    growths = registry.between(OLD, WIDE)

    after = grow(start(optimizer), growths, optimizer, moments=moments, counts=counts)

    assert after.opt_state[0].count == expected


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
def test_every_optimizer_whose_state_looks_like_the_parameters_grows(name, moments):
    optimizer, net = OPTIMIZERS[name], small.network()
    run = functools.partial(
        train_state.grow_state,
        growths=registry.between(OLD, WIDE),
        axes=net.axes,
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
    optimizer, net = with_average(optax.adam(1e-3)), small.network()
    before = start(optimizer)
    (growth,) = registry.between(OLD, WIDE)

    after = grow(before, (growth,), optimizer, moments=moments)

    assert_equal(after.opt_state["ema"], growth.weights(before.opt_state["ema"], net.axes)[0])
    assert not np.array_equal(
        after.opt_state["ema"]["layers"]["up"]["bias"], after.params["layers"]["up"]["bias"]
    )


def test_an_average_of_updates_is_not_taken_for_weights():
    optimizer = optax.chain(optax.adam(1e-3), optax.ema(0.9))
    before = start(optimizer)

    after = grow(before, registry.between(OLD, WIDE), optimizer, moments="copy")

    old, new = (s.opt_state[1].ema["layers"]["down"]["kernel"] for s in (before, after))
    np.testing.assert_array_equal(new, np.repeat(old, 2, axis=1))


def test_norms_of_moments_are_told_by_the_path_of_their_tree():
    opt_state = start(optax.chain(optax.clip(1.0), optax.adam(1e-3))).opt_state

    norms = moments.norms(opt_state, small.trained(small.network()))

    assert norms.keys() == {"1/0/mu", "1/0/nu"}
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(opt_state[1][0].nu)]
    np.testing.assert_allclose(
        norms["1/0/nu"], np.linalg.norm(np.concatenate(leaves)), rtol=1e-5
    )


def test_moments_of_a_dropped_weight_are_dropped():
    optimizer = optax.adam(1e-3)
    net = small.network(pool=2, pool_mode="concat")
    before = start(optimizer, net)
    growths = registry.between(small.sizes(pool=2), OLD)

    after = train_state.grow_state(
        before, growths, net.axes, optimizer_init=optimizer.init, moments="copy"
    )

    assert "resolution" in before.opt_state[0].mu
    assert "resolution" not in after.opt_state[0].mu
    assert_equal(after.opt_state[0].nu["layers"], before.opt_state[0].nu["layers"])


def test_no_growth_carries_everything():
    optimizer = optax.adam(1e-3)
    before = start(optimizer)

    after = grow(before, (), optimizer, moments="copy")

    assert_equal((after.params, after.opt_state), (before.params, before.opt_state))


@pytest.mark.parametrize(
    "new, options, words",
    [
        (DEEP, dict(moments="exact"), "asked of stack .layers 2 -> 4"),
        ({**OLD, "embed": 64, "heads": 8}, dict(moments="exact"), "asked of uneven .* embed"),
        (WIDE, dict(moments="halve"), "expected one of reset, copy, exact, asymmetric"),
        (WIDE, dict(moments={"depth": "copy"}), "moments for width is None"),
        (WIDE, dict(counts="double"), "expected 'keep' or 'reset'"),
        (
            {**DEEP, "mlp": 128},
            dict(moments={"width": "exact", "depth": "reset"}),
            "cannot be both",
        ),
    ],
)
def test_impossible_policies_are_refused(new, options, words):
    optimizer = optax.adam(1e-3)

    with pytest.raises(errors.InputError, match=words):
        grow(start(optimizer), registry.between(OLD, new), optimizer, **options)


def test_policies_may_differ_by_dimension():
    optimizer = optax.adam(1e-3)
    before = start(optimizer)
    growths = registry.between(OLD, {**DEEP, "mlp": 128})

    after = grow(before, growths, optimizer, moments={"width": "exact", "depth": "copy"})

    old, new = (s.opt_state[0].mu["layers"]["up"]["bias"] for s in (before, after))
    expected = np.tile(np.repeat(old, 2, axis=1) * np.tile([0.25, 0.75], 64), (2, 1))
    np.testing.assert_allclose(new, expected, rtol=1e-6)


def test_an_optimizer_whose_state_is_not_understood_is_refused():
    growths = registry.between(OLD, WIDE)
    factored, averaged = optax.adafactor(1e-3), optax.ema(0.9)

    with pytest.raises(errors.InputError, match="v_row.* another shape"):
        grow(start(factored), growths, factored, moments="copy")
    with pytest.raises(errors.InputError, match="does not know what ema"):
        grow(start(averaged), growths, averaged, moments="exact")
    with pytest.raises(errors.InputError, match="only between equal optimisers"):
        grow(start(optax.lion(1e-3)), growths, optax.adam(1e-3), moments="copy")
