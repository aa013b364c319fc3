"""Tests of the growth settings of a recipe, for all stages or for one."""

import dataclasses
import types

import jax
import numpy as np
import pytest
import small
import small_recipe
import tiny

from bertgrow.core.errors import CheckFailed, InputError
from bertgrow.core.types import StageContext
from bertgrow.growth import registry
from bertgrow.models import families
from bertgrow.objectives import stages, transition
from bertgrow.planning import calibration
from bertgrow.recipes import build as recipe
from bertgrow.recipes import load, optimization, resolve
from bertgrow.run import stage_entry


def resolved(grow=None, stage=2, **growth):
    """The small recipe, one stage with `grow`, and fields for `config.growth`."""
    config = small_recipe.get_config()
    config.growth.update(growth)
    config.data.vocab_size = 400
    if grow is not None:
        config.stages[stage].grow = recipe.ConfigDict(grow)
    return resolve.resolve(config)


def test_a_stage_overrides_the_growth_of_the_run():
    stages = resolved(dict(width="fpi", moments=dict(width="exact")), width="equal").stages

    assert [stage.grow.width for stage in stages] == ["equal", "equal", "fpi", "equal"]
    assert stages[2].grow.moments == {"width": "exact"}
    assert stages[2].grow.depth == "stack"


def test_a_trained_bert_grows_exactly_in_width_and_depth():
    config = load.read("grow_from:tiny", [])
    run = resolve.resolve(config)

    steps = [
        transition.growths(families.find("bert"), *pair, seed=0)
        for pair in zip(run.stages, run.stages[1:], strict=False)
    ]

    assert [[growth.name for growth in growths] for growths in steps] == [
        ["uneven"],
        ["identity"],
    ]
    assert {growth.claim for growths in steps for growth in growths} == {"exact"}
    assert run.stages[-1].model.num_layers == 4 and run.stages[-1].model.width == 256


@pytest.mark.parametrize(
    "grow, stage, words",
    [
        (dict(widht="fpi"), 1, "stages.1..grow.widht is no field .* 'width'"),
        (dict(width="fpi"), 0, "first stage has no previous stage"),
        (
            dict(on_broken_claim="ignore"),
            1,
            "grow.on_broken_claim is 'ignore'; expected .* warn",
        ),
        (dict(counts="double"), 1, "counts is 'double'; expected one of auto, keep, reset"),
        (dict(rewarmup_new=-1), 1, "rewarmup_new is -1"),
        (dict(rewind=-1), 1, "rewind is -1"),
        (
            dict(rewind=8),
            1,
            "stage 1 starts at step 7 of its schedule, which is rewound by 8",
        ),
        (
            dict(moments=3),
            1,
            "moments is 3; expected one of reset, copy, exact, asymmetric, or a dict of these",
        ),
    ],
)
def test_invalid_growth_of_a_stage_is_refused(grow, stage, words):
    with pytest.raises(InputError, match=words):
        resolved(grow, stage)


def context(settings, index):
    return StageContext(families.find("bert"), settings, index, calibration.vocabulary(400))


def operators(settings, index):
    old, new = settings.stages[index - 1 : index + 1]
    return transition.growths(families.find("bert"), old, new, settings.seed)


@pytest.mark.parametrize(
    "grow, stage",
    [
        (dict(depth="random"), 1),  # fresh layers: num_layers 1 -> 2
        (dict(width="net2net"), 3),  # drawn units: mlp 16 -> 32
        (dict(width="hyperclone"), 3),  # noise
    ],
)
def test_random_choices_of_growth_depend_on_the_seed_of_the_run(grow, stage):
    def grown(seed):
        settings = dataclasses.replace(resolved(grow, stage), seed=seed)
        network = families.find("bert").network(settings.stages[stage - 1].model)
        shapes = jax.eval_shape(network.init, jax.random.key(0))
        old = jax.tree.map(
            lambda leaf: np.arange(leaf.size, dtype=np.float32).reshape(leaf.shape), shapes
        )
        params, _ = registry.apply(operators(settings, stage), old, network.axes)
        return np.asarray(params["layers"]["down"]["kernel"])

    first, repeated, other = grown(0), grown(0), grown(1)

    np.testing.assert_array_equal(first, repeated)
    assert not np.array_equal(first, other)


def test_required_moments_are_checked_before_the_run():
    settings = resolved(dict(width="sparkling"), stage=3)

    with pytest.raises(InputError, match="sparkling needs moments 'asymmetric'"):
        transition.check(operators(settings, 3), settings.stages[3].grow)


def test_only_new_units_warm_up():
    settings = resolved(dict(width="sparkling", moments="asymmetric", rewarmup_new=4), stage=3)
    stage = settings.stages[3]

    factors = transition.factors_by_axis(operators(settings, 3), stage)

    assert factors.keys() == {"mlp"}
    expected = np.tile([1, 0.25], 16)
    np.testing.assert_array_equal(jax.jit(factors["mlp"])(stage.start), expected)
    np.testing.assert_array_equal(factors["mlp"](stage.start + 3), np.ones(32))
    assert transition.factors_by_axis(operators(settings, 1), settings.stages[1]) == {}


def learning_rates(settings):
    """The learning rate of every update of the run."""
    return [
        float(stages.learning_rate(settings.stages, index)(step))
        for index, stage in enumerate(settings.stages)
        for step in range(stage.start, stage.end)
    ]


def test_a_rewound_schedule_still_ends_at_zero():
    settings = resolved(dict(rewind=4), stage=2)  # four stages of 7 steps
    settings = scheduled(settings, PLAIN)

    schedule_steps = [*range(1, 15), *range(11, 25)]  # 4 steps back at step 14; 24 in all
    np.testing.assert_allclose(
        learning_rates(settings), [1 - step / 24 for step in schedule_steps], atol=1e-6
    )


PLAIN = optimization.Linear(peak=1.0, warmup=0, rewarmup=0)


def scheduled(settings, schedule):
    all_stages = (dataclasses.replace(each, schedule=schedule) for each in settings.stages)
    return dataclasses.replace(settings, stages=tuple(all_stages))


def test_warmup_stable_decay_decays_once_at_the_end_of_the_run():
    """Also if the decay, 14 of 28 steps, starts before the last stage."""
    settings = scheduled(
        resolved(), optimization.Wsd(peak=1.0, warmup=0, rewarmup=0, decay=0.5)
    )

    expected = [1.0] * 14 + [1 - n / 14 for n in range(1, 15)]
    np.testing.assert_allclose(learning_rates(settings), expected, atol=1e-6)


def test_msg_ramps_in_new_units_over_the_steps_of_the_stage():
    settings = resolved(dict(width="msg", ramp=4), stage=3)  # mlp 16 -> 32, at step 21
    task = stages.task(context(settings, 3))
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)

    trees = [task.masked_params(ones, step) for step in (21, 23, 25)]
    down = [np.array(params["layers"]["down"]["kernel"]) for params in trees]

    assert [kernel[0, 16, 0] for kernel in down] == [0, 0.5, 1]
    assert [kernel[0, 15, 0] for kernel in down] == [1, 1, 1]


@pytest.mark.parametrize("ramp", [0, 8])
def test_a_ramp_ends_within_its_stage(ramp):
    settings = resolved(dict(width="msg", ramp=ramp), stage=3)

    with pytest.raises(InputError, match=f"stage 3 has ramp {ramp}: set grow.ramp to 1 to 7"):
        stages.task(context(settings, 3))


def test_a_schedule_that_starts_again_in_every_stage_cannot_be_rewound():
    config = small_recipe.get_config()
    config.schedule = recipe.published()
    config.growth.rewind = 2
    config.data.vocab_size = 400

    with pytest.raises(InputError, match="'published' starts again .* set grow.rewind to 0"):
        resolve.resolve(config)


def test_each_intermediate_model_has_the_sizes_of_its_operator():
    old = tiny.config(ffn_rank=6, light_every=2, pool=2, max_length=16)
    new = tiny.config(num_layers=4, ffn_width=128)
    steps = registry.between(old.sizes(), new.sizes())

    models = transition.path(steps, old, new)

    table = old.sizes()
    for operator, model in zip(steps, models[1:], strict=True):
        table = small.sizes_after(operator, table)
        assert model.sizes() == table
    assert models[-1] == new


def check_claim(settings, change):
    """Messages about a certificate whose claim is broken by `change`."""
    messages = []
    session = types.SimpleNamespace(
        job=types.SimpleNamespace(settings=settings),
        workdir="run",
        reporter=types.SimpleNamespace(event=messages.append),
    )
    row = dict(operator="uneven", holds=False, logit_scale=7.0, max_logit_change=change)
    stage_entry._check_claims(session, 3, {"transition": "2-3", "rows": [row]})
    return messages


def test_a_broken_claim_stops_the_run_or_prints_a_warning():
    with pytest.raises(CheckFailed, match="2-3: uneven claims to be exact.* 7 moved by 0.5"):
        check_claim(resolved(), 0.5)
    with pytest.raises(CheckFailed, match="moved by something not finite"):
        check_claim(resolved(), None)

    (message,) = check_claim(resolved(on_broken_claim="warn"), 0.5)

    assert "uneven claims to be exact" in message
