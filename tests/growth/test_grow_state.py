"""Tests of growing a train state: moments by policy; counts, step and key unchanged."""

import jax
import numpy as np
import optax
import pytest
import small
import tiny
from small_state import DEEP, OLD, WIDE, assert_equal, grow, start

from bertgrow.core import errors, types
from bertgrow.growth import registry


def test_step_and_key_are_kept():
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


def test_asymmetric_moments_start_from_zero_only_in_new_units_and_layers():
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

    fractions = np.tile([0.25, 0.75], 64)
    for name, factor in (("mu", fractions), ("nu", fractions**2)):
        old, new = (getattr(s, name)["layers"] for s in (before, after))
        up = np.repeat(old["up"]["kernel"], 2, axis=2) * factor
        # The square of a square root, in float32.
        np.testing.assert_allclose(new["up"]["kernel"], up, rtol=1e-6)
        down = np.repeat(old["down"]["kernel"], 2, axis=1)
        np.testing.assert_allclose(new["down"]["kernel"], down, rtol=1e-6)


@pytest.mark.slow
def test_exact_moments_equal_those_of_the_grown_model_trained_alone():
    """Five steps of Adam; the grown model sees the same batches at the same weights."""
    with jax.enable_x64(True):
        optimizer = optax.adam(1e-2)
        net = small.network()
        new = {**OLD, "mlp": 96, "heads": 6}
        (growth,) = registry.between(OLD, new)
        params = tiny.params(net, dtype=np.float64)
        widen = jax.jit(lambda params: growth.weights(params, net.axes)[0])

        @jax.jit
        def step(params, opt_state, gradients):
            updates, opt_state = optimizer.update(gradients, opt_state)
            return optax.apply_updates(params, updates), opt_state

        opt_state, wide_state = optimizer.init(params), optimizer.init(widen(params))
        for _ in range(5):
            gradients = small.gradients(small.plain, params, small.batch())
            grown_gradients = small.gradients(small.plain, widen(params), small.batch())
            _, wide_state = step(widen(params), wide_state, grown_gradients)
            params, opt_state = step(params, opt_state, gradients)
        before = types.TrainState(5, params, opt_state, None)

        after = grow(before, (growth,), optimizer, net.axes, moments="exact")

    assert after.opt_state[0].count == 5
    for name in ("mu", "nu"):
        actual, expected = (
            small.paths(getattr(s[0], name)) for s in (after.opt_state, wide_state)
        )
        for path in expected:
            np.testing.assert_allclose(
                actual[path], expected[path], rtol=1e-9, atol=1e-14, err_msg=path
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
def test_counts_follow_the_moments_unless_set(moments, counts, expected):
    optimizer = optax.adam(1e-3)
    growths = registry.between(OLD, WIDE)

    after = grow(start(optimizer), growths, optimizer, moments=moments, counts=counts)

    assert after.opt_state[0].count == expected


def test_without_operators_the_state_is_unchanged():
    optimizer = optax.adam(1e-3)
    before = start(optimizer)

    after = grow(before, (), optimizer, moments="copy")

    assert_equal((after.params, after.opt_state), (before.params, before.opt_state))


@pytest.mark.parametrize(
    "new, options, words",
    [
        (DEEP, dict(moments="exact"), "stack .layers 2 -> 4.* has no rule for moments"),
        (
            {**OLD, "embed": 64, "heads": 8},
            dict(moments="exact"),
            "uneven .* embed .* has no rule",
        ),
        (WIDE, dict(moments="halve"), "expected one of reset, copy, exact, asymmetric"),
        (WIDE, dict(moments={"depth": "copy"}), "moments for width is None"),
        (WIDE, dict(counts="double"), "expected 'keep' or 'reset'"),
        (
            {**DEEP, "mlp": 128},
            dict(moments={"width": "exact", "depth": "reset"}),
            "set .reset. for all dimensions",
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
