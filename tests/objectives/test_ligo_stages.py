"""Tests of learned growth as stages: maps train on frozen small weights, then merge."""

import jax
import numpy as np
import pytest
import small_recipe

from bertgrow.core.errors import InputError
from bertgrow.models import families
from bertgrow.objectives import stages
from bertgrow.planning import calibration, estimate
from bertgrow.recipes import build as recipe
from bertgrow.recipes import resolve
from bertgrow.train import loop, sharding

BERT = families.find("bert")
BIG = dict(num_layers=2, width=32, num_heads=4, ffn_width=64)


def resolved(*stages):
    config = small_recipe.get_config()
    config.model.vocab_size = config.data.vocab_size = 100
    config.update(length=16, batch=4)
    config.stages = recipe.stages(*stages)
    return resolve.resolve(config)


def made(*configs):
    return stages.make(resolved(*configs), BERT, calibration.vocabulary(100))


@pytest.mark.slow  # compiles four losses
def test_a_stage_learns_the_maps_and_the_next_one_begins_with_what_they_make():
    small, maps, big = made(
        dict(steps=2, num_layers=1), dict(steps=2, task="ligo", **BIG), dict(steps=2, **BIG)
    )
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    shardings = [
        sharding.state_shardings(s.task, s.optimizer, mesh) for s in (small, maps, big)
    ]
    probe = sharding.put(calibration.random_batch(4, 16, 100), mesh)
    state = loop.initial_state(small.task, small.optimizer, jax.random.key(0), shardings[0])
    frozen = jax.tree.map(jax.numpy.copy, state.params)

    state, begun = maps.enter(state, shardings[1], probe, frozen)
    state, merged = big.enter(state, shardings[2], probe, frozen)

    big_shapes = jax.eval_shape(big.task.init, jax.random.key(0))
    assert jax.tree.map(np.shape, state.params) == jax.tree.map(np.shape, big_shapes)
    # Nothing was learnt in between: what is merged is what the maps began with.
    assert begun["loss"]["as_trained"] == pytest.approx(merged["loss"]["as_trained"])
    assert begun["rows"][0]["changed"].endswith("(ligo)")
    assert maps.flops > big.flops
    for stage in (maps, big):
        shapes = stage.frozen.shapes(mesh)
        assert jax.tree.map(np.shape, shapes) == jax.tree.map(np.shape, frozen)
    assert small.frozen is None and maps.frozen.at_steps and not big.frozen.at_steps


def test_a_plan_counts_the_model_that_maps_make_and_small_weights_only_beside_the_maps():
    plan = estimate.make(
        resolved(
            dict(steps=2, num_layers=1), dict(steps=2, task="ligo", **BIG), dict(steps=2, **BIG)
        )
    )

    small, maps, big = plan["stages"]
    assert small["parameters"] != maps["parameters"] == big["parameters"]
    assert maps["memory"]["frozen"] == small["memory"]["parameters"]
    assert small["memory"]["frozen"] == big["memory"]["frozen"] == 0
    assert any("'ligo' train maps" in words for words in plan["assumptions"])


@pytest.mark.parametrize(
    "configs, message",
    [
        ([dict(steps=2), dict(steps=2, task="ligo", **BIG)], "between stages .'masked_lm'.;"),
        ([dict(steps=2, task="ligo"), dict(steps=2)], "'masked_lm' stage before it"),
        (
            [dict(steps=2), dict(steps=2, task="ligo", **BIG), dict(steps=2)],
            "stages.2. follows a stage that learns 'ligo' and has another model",
        ),
        (
            [dict(steps=2), dict(steps=2, task="ligo"), dict(steps=2)],
            "has the sizes of the stage before",
        ),
    ],
)
def test_a_stage_of_maps_stands_between_the_small_model_and_the_big_one(configs, message):
    with pytest.raises(InputError, match=message):
        made(*configs)
