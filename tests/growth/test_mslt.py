"""Tests of layerwise training (MSLT): new layers train alone first, then all layers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small_recipe

from bertgrow.models import families
from bertgrow.objectives import stages as every
from bertgrow.objectives import transition
from bertgrow.planning import calibration
from bertgrow.recipes import build as recipe
from bertgrow.recipes import resolve


@pytest.fixture(scope="module")
def settings():
    """One layer; two, of which the new one learns; both."""
    given = small_recipe.get_config()
    given.model.vocab_size = given.data.vocab_size = 100
    given.update(length=16, batch=4)
    given.optimizer.weight_decay = 0.5
    given.schedule.warmup = given.schedule.rewarmup = 0
    given.stages = recipe.stages(
        dict(steps=4, num_layers=1),
        dict(steps=4, frozen_layers=1, grow=dict(depth="mslt")),
        dict(steps=4),
    )
    return resolve.resolve(given)


@pytest.fixture(scope="module")
def stages(settings):
    return every.make(settings, families.find("bert"), calibration.vocabulary(100))


def test_frozen_weights_stay_to_the_bit_and_the_others_learn(stages):
    """Whatever decay wants, and even if a gradient reached them."""
    task, optimizer = stages[1].task, stages[1].optimizer
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    before = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.3), shapes)
    gradients = jax.tree.map(jnp.ones_like, before)

    @jax.jit
    def update(params):
        updates, _ = optimizer.update(gradients, optimizer.init(params), params, step=4)
        return optax.apply_updates(params, updates)

    after = update(before)

    same = jax.tree.map(lambda a, b: np.array(a == b), before, after)
    for leaf in jax.tree.leaves(same["layers"]):
        assert leaf[0].all()
        assert not leaf[1].any()
    assert all(leaf.all() for leaf in jax.tree.leaves(same["embeddings"]))
    assert not any(leaf.any() for leaf in jax.tree.leaves(same["mlm"]))


def test_a_frozen_layer_costs_a_third_and_its_word_table_a_little_less(settings, stages):
    one, frozen, both = (stage.flops / 4 for stage in stages)  # a row
    family, max_predictions = families.find("bert"), settings.masking.num_predictions(16)
    layer = family.flops(settings.stages[0].model, 16, max_predictions)["layers"]
    table = 2 * max_predictions * 16 * 100

    assert frozen == pytest.approx(one + layer - table)
    assert both == pytest.approx(one + 3 * layer)


def test_new_layers_may_warm_up_above_the_frozen_ones(settings):
    """The two factors of the axis multiply."""
    family, (old, new, _) = families.find("bert"), settings.stages
    grow = dataclasses.replace(new.grow, rewarmup_new=4)
    new = dataclasses.replace(new, grow=grow)

    operators = transition.growths(family, old, new, seed=0)
    factor = transition.factors_by_axis(operators, new)["layers"]

    np.testing.assert_allclose(factor(new.start), [0, 0.25])
    np.testing.assert_allclose(factor(new.start + 9), [0, 1])
