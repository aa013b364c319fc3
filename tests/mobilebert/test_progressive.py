"""Tests of progressive transfer: active layer, published learning rates, fresh moments."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small_mobilebert as small

from bertgrow.core import errors, tree
from bertgrow.train import optimizers
from mobilebert.distill import schedule
from mobilebert.models import mobilebert

LAYERS, PHASE, START = 3, 4, 100
AXES = {
    "words": jax.P("vocab", "table"),
    "layers": {
        "up": {
            "kernel": jax.P("layers", "ffn", "body_in", "mlp"),
            "bias": jax.P("ffn", "layers"),
        }
    },
    "output_bias": jax.P("vocab"),
}


def toy(seed):
    """A stacked tree, one bias of which has its layers on the second axis."""
    rng = np.random.default_rng(seed)
    layer = {"kernel": rng.normal(size=(3, 2, 4, 5)), "bias": rng.normal(size=(2, 3))}
    whole = {"words": rng.normal(size=(6, 2)), "layers": {"up": layer}}
    return jax.tree.map(jnp.float32, whole | {"output_bias": rng.normal(size=6)})


def published(step, layer, phase):
    """The factor of a layer at a step, as in google-research (mobilebert/optimization.py)."""
    t = step % phase
    g = min(10 * t / phase, 0.9 + 0.1 * (1 - t / phase) ** 0.5)
    if step <= layer * phase:
        return 0.0
    return 3 * g if step <= (layer + 1) * phase else 0.3 * g


def optimizer(**phases):
    phases = phases or dict(start=START, steps_per_layer=PHASE)
    factors = schedule.progressive(num_layers=LAYERS, **phases)
    lamb = optimizers.make(
        optimizers.Lamb(bias_correction=False), AXES, lambda step: 1e-2,
        factors_by_axis={"layers": factors}, frozen=("words", "output_bias"),
    )  # fmt: skip
    return schedule.with_fresh_moments(lamb, AXES, **phases)


def train(optimizer, params, steps, state=None):
    """Parameters and state after `steps`, with other gradients at each."""
    state = optimizer.init(params) if state is None else state

    @jax.jit
    def update(params, state, gradients, step):
        updates, state = optimizer.update(gradients, state, params, step=step)
        return optax.apply_updates(params, updates), state

    for step in steps:
        params, state = update(params, state, toy(step), jnp.int32(step))
    return params, state


def moments(state):
    return [optax.tree.get(state, name) for name in ("mu", "nu")]


def test_the_wave_rises_in_a_tenth_and_sinks_to_nine_tenths():
    at = jnp.array([0.0, 0.05, 0.0995, 0.5, 1.0])

    actual = schedule.wave(at)

    np.testing.assert_allclose(actual, [0, 0.5, 0.9949, 0.9707, 0.9], rtol=1e-4)
    assert schedule.wave(jnp.linspace(0, 1, 1001)).max() == pytest.approx(0.995, abs=5e-4)


def test_at_the_published_rate_the_active_layer_peaks_at_four_and_a_half_thousandths():
    factors = schedule.progressive(start=0, steps_per_layer=10_000, num_layers=24)

    phase = jax.jit(jax.vmap(factors))(jnp.arange(30_000, 40_000))  # of layer 3

    np.testing.assert_allclose(1.5e-3 * phase[:, 3].max(), 4.48e-3, rtol=1e-3)
    np.testing.assert_allclose(phase[:, :3], 0.1 * phase[:, 3:4].repeat(3, 1), rtol=1e-5)
    assert 994 <= int(phase[:, 3].argmax()) + 1 <= 996
    assert not phase[:, 4:].any()


def test_factors_are_the_published_ones_but_for_the_last_step_of_a_phase():
    factors = schedule.progressive(start=0, steps_per_layer=20, num_layers=3)

    # The update that makes s into s + 1 counts as s + 1.
    actual = np.stack([factors(step) for step in range(60)])

    steps = [s for s in range(1, 61) if s % 20]
    expected = [[published(s, layer, 20) for layer in range(3)] for s in steps]
    np.testing.assert_allclose(actual[np.array(steps) - 1], expected, rtol=1e-5)
    np.testing.assert_allclose(actual[[19, 39, 59]].max(axis=1), 2.7, rtol=1e-5)


def test_every_update_of_a_phase_moves_its_layer():
    factors = schedule.progressive(start=7, steps_per_layer=5, num_layers=2)

    actual = np.stack([factors(step) for step in range(7, 17)])

    np.testing.assert_array_equal(actual.argmax(axis=1), [0] * 5 + [1] * 5)
    assert (actual.max(axis=1) > 0).all()


def test_the_active_layer_is_traced_and_stays_in_the_network():
    active = jax.jit(
        lambda step: schedule.active_layer(step, start=10, steps_per_layer=3, num_layers=2)
    )

    actual = [int(active(step)) for step in (0, 10, 12, 13, 15, 16, 99)]

    assert actual == [0, 0, 0, 1, 1, 1, 1]


def test_phases_must_add_up():
    assert schedule.phase_steps(240_000, 24) == 10_000

    with pytest.raises(errors.InputError, match="100 steps .* 24 equal phases.* e.g. 120"):
        schedule.phase_steps(100, 24)


def test_what_is_not_active_yet_and_all_outside_the_layers_stays_to_the_bit():
    before = toy(0)

    after, _ = train(optimizer(), before, range(START, START + PHASE))

    old, new = before["layers"]["up"], after["layers"]["up"]
    np.testing.assert_array_equal(new["kernel"][1:], old["kernel"][1:])
    np.testing.assert_array_equal(new["bias"][:, 1:], old["bias"][:, 1:])
    np.testing.assert_array_equal(after["words"], before["words"])
    np.testing.assert_array_equal(after["output_bias"], before["output_bias"])
    assert (new["kernel"][0] != old["kernel"][0]).all()
    assert (new["bias"][:, 0] != old["bias"][:, 0]).all()


def test_a_layer_begins_its_phase_with_fresh_moments():
    """The toy has gradients everywhere: only the clearing keeps what layer 1 starts with."""
    first = START + PHASE  # the update in which layer 1 is active for the first time
    _, state = train(optimizer(), toy(0), range(START, first + 1))

    mu, nu = moments(state)
    gradients = toy(first)["layers"]["up"]
    norm = optax.tree.norm(gradients)  # above 1, so clipped to it; what is frozen counts not
    kernel, bias = gradients["kernel"] / norm, gradients["bias"] / norm
    actual = mu["layers"]["up"], nu["layers"]["up"]
    np.testing.assert_allclose(actual[0]["kernel"][1], 0.1 * kernel[1], rtol=1e-5)
    np.testing.assert_allclose(actual[1]["kernel"][1], 1e-3 * kernel[1] ** 2, rtol=1e-4)
    np.testing.assert_allclose(actual[0]["bias"][:, 1], 0.1 * bias[:, 1], rtol=1e-5)
    assert not np.allclose(actual[0]["kernel"][0], 0.1 * kernel[0], rtol=0.1)


def test_moments_brought_from_elsewhere_do_not_count():
    params = toy(0)
    full = optimizer().init(params)
    stale = jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf), full)

    fresh, _ = train(optimizer(), params, range(START, START + 3 * PHASE))
    after, _ = train(optimizer(), params, range(START, START + 3 * PHASE), state=stale)

    np.testing.assert_array_equal(
        after["layers"]["up"]["kernel"], fresh["layers"]["up"]["kernel"]
    )


def test_moments_of_layers_below_go_on_gathering():
    until = START + 2 * PHASE
    _, state = train(optimizer(), toy(0), range(START, until))
    plain = optimizer(start=START, steps_per_layer=1)  # cleared for the last time at step 102

    _, gathered = train(plain, toy(0), range(START, until))

    actual, expected = (moments(s)[0]["layers"]["up"]["kernel"][0] for s in (state, gathered))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("form", [*small.FORMS, "teacher"])
def test_biases_and_norms_of_a_network_and_nothing_else_have_no_decay_or_trust_ratio(form):
    """The published exclusions: LayerNorm, FakeLayerNorm (its NoNorm) and bias."""
    axes = mobilebert.network(small.form(form)).axes

    pairs = jax.tree_util.tree_leaves_with_path(axes, is_leaf=tree.is_spec)
    plain = {tree.path_name(path) for path, names in pairs if not optimizers.is_matrix(names)}

    paths = {tree.path_name(path) for path, _ in pairs}
    ends = ("/bias", "/scale", "/output_bias")
    assert plain == {path for path in paths if path.endswith(ends)}
    assert plain >= {"mlm/output_bias", "embeddings/norm/scale", "layers/mlp_norm/scale"}
