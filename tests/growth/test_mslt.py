"""Tests of layerwise training (MSLT): new layers train alone first, then all layers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small_recipe

from bertgrow.models import families
from bertgrow.objectives import stages as all_stages
from bertgrow.objectives import transition
from bertgrow.planning import calibration
from bertgrow.recipes import build as recipe
from bertgrow.recipes import resolve


@pytest.fixture(scope="module")
def settings():
    """One layer; two layers, the first frozen; two layers."""
    config = small_recipe.get_config()
    config.model.vocab_size = config.data.vocab_size = 100
    config.update(length=16, batch=4)
    config.optimizer.weight_decay = 0.5
    config.schedule.warmup = config.schedule.rewarmup = 0
    config.stages = recipe.stages(
        dict(steps=4, num_layers=1),
        dict(steps=4, frozen_layers=1, grow=dict(depth="mslt")),
        dict(steps=4),
    )
    return resolve.resolve(config)


@pytest.fixture(scope="module")
def stages(settings):
    return all_stages.make(settings, families.find("bert"), calibration.vocabulary(100))


def test_only_frozen_weights_are_unchanged(stages):
    """Even with weight decay and a gradient."""
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


def test_a_frozen_layer_has_a_forward_pass_only(settings, stages):
    one, frozen, both = (stage.flops / 4 for stage in stages)  # of one sequence
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
