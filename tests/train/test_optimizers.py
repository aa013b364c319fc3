"""Tests of optimizers: equal to references, additive over micro-batches, by axis names."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy_task

from bertgrow.core import errors
from bertgrow.train import optimizers
from bertgrow.train.optimizers import AdamW, Lamb


def constant(learning_rate):
    return lambda step: learning_rate


def train(optimizer, params, gradients):
    """Parameters after one update for each tree of gradients."""
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, gradient, number):
        updates, state = optimizer.update(gradient, state, params, step=number)
        return optax.apply_updates(params, updates), state

    for number, gradient in enumerate(gradients):
        params, state = step(params, state, gradient, number)
    return params


def toy_gradients(num_steps, scale=1.0):
    keys = jax.random.split(jax.random.key(5), num_steps)
    return [jax.tree.map(lambda p: scale * p, toy_task.init(key)) for key in keys]


def assert_trees_close(a, b, rtol):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-7), a, b)


def test_lamb_gives_every_layer_its_own_trust_ratio():
    weight = jnp.stack([jnp.full((2, 2), 1.0), jnp.full((2, 2), 100.0)])
    update = jnp.ones((2, 2, 2))

    ratio = optimizers.trust_ratio(update, weight, ("layers", "embed_in", "mlp"))

    # One ratio for the whole leaf would be 70.7 twice.
    np.testing.assert_allclose(ratio.ravel(), [1, 100], rtol=1e-6)


def test_lamb_moves_every_layer_in_proportion_to_its_weight():
    axes = {"w": jax.P("layers", "ffn", "embed_in", "mlp")}
    params = {"w": jnp.array([1.0, 100.0]).reshape(2, 1, 1, 1) * jnp.ones((2, 3, 2, 2))}
    gradient = jax.tree.map(jnp.ones_like, params)
    optimizer = optimizers.make(Lamb(weight_decay=0.0), axes, constant(0.1))

    after = train(optimizer, params, [gradient])

    moved = (params["w"] - after["w"])[:, 0, 0, 0]
    np.testing.assert_allclose(moved, [0.1, 10.0], rtol=1e-4)


@pytest.mark.parametrize("bias_correction", [True, False])
def test_lamb_equals_a_plain_reference(bias_correction):
    rng = np.random.default_rng(0)
    axes = {"w": jax.P("layers", "ffn", "embed_in", "mlp"), "b": jax.P("layers", "ffn", "mlp")}
    start = {"w": rng.normal(size=(2, 3, 3, 4)), "b": rng.normal(size=(2, 3, 4))}
    start["w"] *= np.arange(1, 7).reshape(2, 3, 1, 1)  # every slice has its own norm
    gradients = [{k: 0.1 * rng.normal(size=v.shape) for k, v in start.items()} for _ in "123"]

    optimizer = optimizers.make(
        Lamb(clip=0.0, weight_decay=0.1, bias_correction=bias_correction), axes, constant(0.01)
    )
    as_float = [jax.tree.map(jnp.float32, tree) for tree in [start, *gradients]]
    after = train(optimizer, as_float[0], as_float[1:])

    # You et al. (2020), algorithm 2, in float64, one layer's FFN at a time.
    for name, decays in (("w", True), ("b", False)):
        for at in np.ndindex(2, 3):
            slices = [gradient[name][at] for gradient in gradients]
            x = plain_lamb(start[name][at], slices, decays, bias_correction)
            np.testing.assert_allclose(after[name][at], x, rtol=1e-4, atol=1e-6)


def plain_lamb(x, gradients, decays, bias_correction):
    mu, nu = 0.0, 0.0
    for t, g in enumerate(gradients, start=1):
        mu, nu = 0.9 * mu + 0.1 * g, 0.999 * nu + 0.001 * g * g
        first, second = (1 - 0.9**t, 1 - 0.999**t) if bias_correction else (1, 1)
        r = (mu / first) / (np.sqrt(nu / second) + 1e-6)
        if decays:
            r = r + 0.1 * x
            r = r * np.linalg.norm(x) / np.linalg.norm(r)
        x = x - 0.01 * r
    return x


def test_adamw_equals_optax():
    params, gradients = toy_task.init(jax.random.key(0)), toy_gradients(3)
    decayed = {
        "words": True,
        "layers": {
            "up": {"kernel": True, "bias": False},
            "down": {"kernel": True, "bias": False},
            "norm": {"scale": False},
        },
        "output_bias": False,
    }

    optimizer = optimizers.make(AdamW(weight_decay=0.1), toy_task.AXES, constant(0.01))
    actual = train(optimizer, params, gradients)

    reference = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(0.01, eps=1e-6, weight_decay=0.1, mask=decayed),
    )
    reference = optax.with_extra_args_support(reference)
    assert_trees_close(actual, train(reference, params, gradients), rtol=1e-5)


def test_without_bias_correction_the_first_step_is_smaller():
    params, gradients = {"b": jnp.zeros(3)}, [{"b": jnp.full(3, 0.1)}]
    axes = {"b": jax.P("mlp")}

    plain = optimizers.make(AdamW(bias_correction=False), axes, constant(1.0))

    # m / sqrt(v) = 0.1 g / (sqrt(0.001) g)
    after = train(plain, params, gradients)
    np.testing.assert_allclose(after["b"], -0.1 / np.sqrt(0.001), rtol=1e-3)


def test_clipping_bounds_the_global_norm():
    axes = {"a": jax.P("mlp"), "b": jax.P("mlp")}
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    large = {"a": jnp.full(1, 30.0), "b": jnp.full(1, 40.0)}
    small = {"a": jnp.full(1, 0.6), "b": jnp.full(1, 0.8)}

    optimizer = optimizers.make(AdamW(), axes, constant(1.0))
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    _, from_large = update(large, state, params, step=0)
    _, from_small = update(small, state, params, step=0)

    assert_trees_close(from_large[1].mu, from_small[1].mu, rtol=1e-6)


@pytest.mark.parametrize(
    "names, expected",
    [
        (("vocab", "embed"), True),
        (("positions", "embed"), True),
        (("types", "embed"), True),
        (("layers", "embed_in", "heads", "kv"), True),
        (("layers", "heads_in", "kv_in", "embed"), True),
        (("layers", "ffn", "embed_in", "mlp"), True),
        (("embed_in", "classes"), True),
        (("layers", "heads", "kv"), False),  # a bias, though it has three axes
        (("layers", "ffn", "mlp"), False),
        (("layers", "embed"), False),
        (("embed_in",), False),  # the norm before the tied word table
        (("vocab",), False),  # the output bias
    ],
)
def test_matrices_and_tables_decay_and_nothing_else(names, expected):
    assert optimizers.is_matrix(names) is expected


@pytest.mark.parametrize("kind", [AdamW, Lamb])
def test_only_weights_shrink_without_a_gradient(kind):
    params = jax.tree.map(jnp.ones_like, toy_task.init(jax.random.key(0)))
    zero = jax.tree.map(jnp.zeros_like, params)

    after = train(
        optimizers.make(kind(weight_decay=0.5), toy_task.AXES, constant(0.1)), params, [zero]
    )

    assert float(after["words"].max()) < 1
    assert float(after["layers"]["up"]["kernel"].max()) < 1
    for bias in (after["output_bias"], after["layers"]["up"]["bias"]):
        np.testing.assert_array_equal(bias, 1)
    np.testing.assert_array_equal(after["layers"]["norm"]["scale"], 1)


def test_the_learning_rate_is_a_function_of_the_step_of_the_run():
    params, gradient = {"b": jnp.zeros(1)}, {"b": jnp.ones(1)}
    optimizer = optimizers.make(AdamW(), {"b": jax.P("mlp")}, lambda step: step * 1.0)
    state = optimizer.init(params)

    updates, state = optimizer.update(gradient, state, params, step=jnp.int32(7))

    np.testing.assert_allclose(updates["b"], -7, rtol=1e-4)
    assert float(optax.tree.get(state, "rate")) == 7


@pytest.mark.parametrize("kind", [AdamW, Lamb])
def test_units_of_an_axis_have_their_own_factor_on_both_sides(kind):
    """Also its decay: a layer at factor zero does not move at all."""
    params, gradients = toy_task.init(jax.random.key(0)), toy_gradients(1)
    layers = params["layers"]["up"]["kernel"].shape[0]
    wide = params["layers"]["up"]["kernel"].shape[-1]
    by_axis = {
        "layers": lambda step: jnp.where(jnp.arange(layers) == 0, step * 1.0, 1.0),
        "mlp": lambda step: jnp.where(jnp.arange(wide) == 1, 0.5, 1.0),
    }

    plain = train(optimizers.make(kind(), toy_task.AXES, constant(0.01)), params, gradients)
    scaled = train(
        optimizers.make(kind(), toy_task.AXES, constant(0.01), factors_by_axis=by_axis),
        params,
        gradients,
    )

    moved, by_factor = (jax.tree.map(jnp.subtract, after, params) for after in (plain, scaled))
    for name, at in (("up", (Ellipsis, 1)), ("down", (slice(None), 1))):
        actual, expected = (np.array(m["layers"][name]["kernel"]) for m in (by_factor, moved))
        expected[0] = 0  # step 0
        expected[at] /= 2
        # A difference of float32 weights of order 1.
        np.testing.assert_allclose(actual, expected, atol=3e-7)
    np.testing.assert_array_equal(scaled["words"], plain["words"])


@pytest.mark.parametrize("kind", [AdamW, Lamb])
def test_a_frozen_module_stays_as_it_is_and_does_not_count_for_clipping(kind):
    params, gradients = toy_task.init(jax.random.key(0)), toy_gradients(2)
    alone = [{**g, "words": 0 * g["words"]} for g in gradients]
    optimizer = optimizers.make(kind(), toy_task.AXES, constant(0.01), frozen=("words",))

    after = train(optimizer, params, gradients)

    np.testing.assert_array_equal(after["words"], params["words"])
    others = train(optimizers.make(kind(), toy_task.AXES, constant(0.01)), params, alone)
    assert_trees_close({**after, "words": 0}, {**others, "words": 0}, rtol=1e-6)


def test_a_frozen_stage_keeps_the_state_of_the_optimizer_as_it_was():
    """So that moments carry over to a stage that freezes nothing."""
    params = toy_task.init(jax.random.key(0))

    frozen = optimizers.make(AdamW(), toy_task.AXES, constant(0.01), frozen=("words",)).init(
        params
    )

    free = optimizers.make(AdamW(), toy_task.AXES, constant(0.01)).init(params)
    assert jax.tree.structure(frozen) == jax.tree.structure(free)


def test_an_unknown_module_cannot_be_frozen():
    with pytest.raises(errors.InputError, match="no module 'word' to freeze.*words"):
        optimizers.make(AdamW(), toy_task.AXES, constant(0.01), frozen=("word",))
