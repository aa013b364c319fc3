"""Tests of `--config.field=value`: the fields it sets, and errors that name the expected."""

import dataclasses

import pytest

from bertgrow.core.errors import InputError
from bertgrow.recipes import load, optimization, resolve, schema


def load_recipe(name, *overrides):
    return load.read(name, list(overrides))


def test_a_stage_is_changed_from_the_command_line():
    run = resolve.resolve(load_recipe("bert_base_grow", "--config.stages[0].steps=10"))

    assert [stage.steps for stage in run.stages] == [10, 200_000, 300_000, 300_000]
    assert run.stages[1].start == 10


@pytest.mark.parametrize(
    "override, field, expected",
    [
        ("masking.rate=0.3", "masking", schema.MaskingConfig(rate=0.3)),
        ("masking={'rate': 0.3}", "masking", schema.MaskingConfig(rate=0.3)),
        ("grow.width=equal", "grow", schema.GrowthConfig(width="equal")),
        ("grow.moments=copy", "grow", schema.GrowthConfig(moments="copy")),
        ("schedule.peak=0.3", "schedule", optimization.Linear(peak=0.3)),
        ("optimizer.clip=3", "optimizer", optimization.AdamW(clip=3.0)),
        ("batch=8", "batch", 8),
        ("task=ligo", "task", "ligo"),
    ],
)
def test_a_field_that_a_stage_does_not_set_is_overridden_in_this_stage_alone(
    override, field, expected
):
    plain = resolve.resolve(load_recipe("bert_base_grow")).stages

    stages = resolve.resolve(
        load_recipe("bert_base_grow", f"--config.stages[1].{override}")
    ).stages

    assert stages[1] == dataclasses.replace(plain[1], **{field: expected})
    assert (stages[0], *stages[2:]) == (plain[0], *plain[2:])


def test_a_field_of_the_model_is_overridden_in_one_stage():
    stages = resolve.resolve(
        load_recipe("bert_base_grow", "--config.stages[1].dropout=0.3")
    ).stages

    assert [stage.model.dropout for stage in stages] == [0.1, 0.3, 0.1, 0.1]
    assert stages[1].model.ffn_share == 2  # what the stage sets is kept


@pytest.mark.parametrize(
    "override, error",
    [
        (
            "stages[0].masking.rat=1",
            "stages[0].masking.rat: no such field; nearest: config.stages[0].masking.rate",
        ),
        (
            "stages[0].maskin.rate=1",
            "stages[0].maskin.rate: no such field; nearest: config.stages[0].masking",
        ),
        (
            "stages[0].masking=0.3",
            "stages[0].masking=0.3: expected fields in braces; set one "
            "field as --config.stages[0].masking.NAME=VALUE",
        ),
        ("stages[0].masking.rate=high", "stages[0].masking.rate=high: expected a number"),
        ("optimiser.clip=1", "optimiser.clip: no such field; nearest: config.optimizer"),
        ("schedule.peek=1", "schedule.peek: no such field; nearest: config.schedule.peak"),
        ("peak=1", "peak: no such field; nearest: config.schedule.peak"),
        ("mesh.q=1", "mesh.q: no such field; config.mesh has data, fsdp, tensor"),
        ("batch.size=1", "batch.size: no such field; config.batch is 512 and has no fields"),
        ("stages[7].steps=1", "stages[7].steps: the recipe has 4 stages (0 to 3)"),
        ("stages.steps=1", "stages.steps: expected a number, e.g. --config.stages[0].steps"),
        ("stages[0=1", "stages[0: expected --config.NAME=VALUE"),
        ("batch=ten", "batch=ten: expected a whole number"),
        ("batch=1.5", "batch=1.5: expected a whole number"),
        ("batch", "batch: expected a whole number"),
        ("optimizer.clip=x", "optimizer.clip=x: expected a number"),
        ("model.next_sentence=no!", "model.next_sentence=no!: expected true or false"),
        (
            "optimizer=lamb",
            "optimizer=lamb: expected fields in braces; set one field as "
            "--config.optimizer.NAME=VALUE",
        ),
    ],
)
def test_a_wrong_override_is_refused_with_what_is_expected(override, error):
    with pytest.raises(InputError) as refused:
        load_recipe("bert_base_grow", f"--config.{override}")

    assert str(refused.value) == f"--config.{error}"


def test_an_argument_that_is_no_field_is_refused():
    with pytest.raises(InputError, match="unknown argument '--confg.batch=1'"):
        load_recipe("bert_base", "--confg.batch=1")


def test_the_later_of_two_overrides_counts():
    recipe = load_recipe(
        "bert_base_grow", "--config.batch=8", "--config.optimizer={'clip': 2.0}",
        "--config.optimizer.clip=3", "--config.stages[-1].steps=9", "--config.batch=16",
        "--config.model.next_sentence=false",
    )  # fmt: skip

    assert (recipe.batch, recipe.optimizer.clip, recipe.stages[3].steps) == (16, 3.0, 9)
    assert recipe.model.next_sentence is False
