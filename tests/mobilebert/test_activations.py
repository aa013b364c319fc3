"""Tests of the activation penalty: zero below the limit, reduces values above it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small_mobilebert as small
import tiny

from bertgrow.core import losses
from bertgrow.models import encoder
from bertgrow.train import optimizers
from mobilebert.distill import layer_losses, penalty
from mobilebert.models import mobilebert

WEIGHTS = np.full(2, 0.5, np.float32)  # of two rows


def greatest(scores):
    return penalty.largest_score_hook().scores(scores, None)[penalty.LARGEST]


def values(token, length=3):
    """Zeros [2 rows, length, 4], with one value, at sequence 0 and token 2."""
    return jnp.zeros((2, length, 4)).at[0, 2].set(jnp.float32(token))


def test_values_within_the_limit_cost_nothing_and_are_not_pushed():
    within = values([10.0, -10.0, 9.0, 0.0])

    cost, push = jax.value_and_grad(penalty.penalty)(within, 10.0, WEIGHTS)

    assert cost == 0
    assert not push.any()


def test_the_cost_is_the_squared_logarithm_of_the_excess():
    e = np.e

    cost = penalty.penalty(values([10 * e, -10 * e**2, 10.0, 0.0]), 10.0, WEIGHTS)

    # (1^2 + 2^2) in one of two rows.
    np.testing.assert_allclose(cost, 5 / 2, rtol=1e-6)


def test_one_token_costs_as_much_in_a_long_row_as_in_a_short_one():
    short, long = (values([50.0, 0.0, 0.0, 0.0], length) for length in (3, 300))

    costs = [penalty.penalty(each, 10.0, WEIGHTS) for each in (short, long)]

    assert costs[0] == costs[1] > 0


def test_only_the_channels_beyond_are_pushed_and_towards_zero():
    inputs = values([30.0, -20.0, 10.0, 0.0])

    push = jax.grad(penalty.penalty)(inputs, 10.0, WEIGHTS)

    np.testing.assert_array_equal(np.sign(push[0, 2]), [1, -1, 0, 0])
    assert np.count_nonzero(push) == 2


@pytest.mark.parametrize("size", [20.0, 2.5e7, 1e30])
def test_the_pull_on_a_gain_is_twice_the_excess_in_factors_of_e(size):
    pull = jax.grad(lambda gain: penalty.penalty(gain * values([size, 0, 0, 0]), 10.0, WEIGHTS))

    np.testing.assert_allclose(pull(1.0), 2 * np.log(size / 10) / 2, rtol=1e-5)


def test_masked_scores_do_not_count():
    scores = jnp.array([[[3.0, encoder.NEVER]], [[-8.0, encoder.NEVER]]])

    assert penalty.penalty(scores, 10.0, WEIGHTS) == 0
    assert greatest(scores) == 8


def test_slices_of_a_batch_add_up():
    inputs = jnp.float32(20 * np.random.default_rng(0).normal(size=(2, 3, 4)))

    parts = [penalty.penalty(inputs[i : i + 1], 5.0, WEIGHTS[i : i + 1]) for i in (0, 1)]

    np.testing.assert_allclose(sum(parts), penalty.penalty(inputs, 5.0, WEIGHTS), rtol=1e-6)


def test_descent_on_a_gain_brings_the_released_size_into_float16():
    """From 2.5e7 at one token, as in the released weights; the rest stays as it is."""
    inputs = values([-2.5e7, 8e4, 1.7e5, 1.0])

    @jax.jit
    @jax.grad
    def pull(gain):
        return penalty.penalty(gain[None, None] * inputs, 1e4, WEIGHTS)

    gain = jnp.ones(4)

    for _ in range(40):
        gain = gain * jnp.exp(-0.3 * gain * pull(gain))

    assert np.abs(gain * inputs[0, 2]).max() < penalty.FLOAT16_MAX
    assert gain[3] == 1


def sharp_student():
    """A student whose outputs are small and whose attention scores are far beyond float16."""
    config = small.config()
    _, params = small.built(config)
    query = jax.tree.map(lambda leaf: 3e4 * leaf, params["layers"]["query"])
    return config, params | {"layers": params["layers"] | {"query": query}}


def with_hook(config, hook):
    """The function params -> outputs of a student with a hook on its layers."""
    return lambda params: mobilebert.with_hook(config)(params, tiny.inputs(), hook)


def weights():
    rows = len(tiny.inputs()["tokens"])
    return jnp.full(rows, 1 / rows)


def test_scores_have_a_penalty_where_outputs_have_none():
    config, params = sharp_student()
    hook = penalty.hook(penalty.LIMIT, weights())

    outputs = jax.jit(with_hook(config, hook))(params)

    excess = outputs["hook_outputs"]
    assert np.abs(outputs["layers"]).max() < penalty.LIMIT
    assert not excess.features["excess"].any()
    assert (excess.scores["excess"] > 0).all()
    np.testing.assert_array_equal(penalty.total(excess), excess.scores["excess"])


def test_the_penalty_changes_no_layer_loss():
    config, params = sharp_student()
    losses_hook = layer_losses.hook(layer_losses.weigh_tokens(tiny.inputs()["tokens"] != 0))
    both = penalty.hook(penalty.LIMIT, weights(), losses_hook)
    teacher_maps = mobilebert.maps(config)(small.built(config)[1], tiny.inputs())

    @jax.jit
    def hook_outputs(params):
        run = mobilebert.with_hook(config)
        return [
            run(params, tiny.inputs(), hook, teacher_maps)["hook_outputs"]
            for hook in (losses_hook, both)
        ]

    alone, with_penalty = hook_outputs(params)

    for expected, actual in zip(alone, with_penalty, strict=True):
        assert actual.keys() == expected.keys() | {"excess"}
        for name, value in expected.items():
            # The same operations, fused otherwise.
            np.testing.assert_allclose(value, actual[name], rtol=1e-5)


@pytest.mark.slow
def test_a_student_comes_into_float16_by_the_penalty_and_learns_as_well():
    """Sixty updates on masked words by LAMB, without and with the penalty."""
    config, start = sharp_student()
    inputs, axes = tiny.inputs(), mobilebert.network(config).axes
    optimizer = optimizers.make(optimizers.Lamb(), axes, lambda step: 0.01)
    run = with_hook(config, penalty.hook(penalty.LIMIT, weights()))

    def loss(params, factor):
        outputs = run(params)
        weights = inputs["weights"] / inputs["weights"].sum()
        words = losses.cross_entropy(outputs["mlm_logits"], inputs["targets"], weights)
        return words + factor * penalty.total(outputs["hook_outputs"]).sum(), words

    @jax.jit
    def update(params, state, step, factor):
        (_, words), gradient = jax.value_and_grad(loss, has_aux=True)(params, factor)
        change, state = optimizer.update(gradient, state, params, step=step)
        return optax.apply_updates(params, change), state, words

    def learnt(factor):
        """The greatest score of each layer, and the loss of the masked words."""
        params, state = start, optimizer.init(start)
        for step in range(60):
            params, state, words = update(params, state, jnp.int32(step), factor)
        scores = mobilebert.maps(config)(params, inputs).scores
        return jax.vmap(greatest)(scores), words

    (free, words), (held, held_words) = learnt(0.0), learnt(1.0)

    assert max(free) > penalty.FLOAT16_MAX
    assert max(held) < penalty.FLOAT16_MAX
    assert max(words, held_words) < 0.5  # of 4.9 at the start
