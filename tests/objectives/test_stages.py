"""Tests of building stages from recipes."""

import jax
import numpy as np
import pytest
import tiny

from bertgrow.core.errors import InputError
from bertgrow.core.types import StageContext
from bertgrow.models import families
from bertgrow.objectives import stages
from bertgrow.planning import calibration
from bertgrow.recipes import build as recipe
from bertgrow.recipes import resolve
from bertgrow.recipes.schema import MaskingConfig


def run_of(*stages_of_run, **fields):
    config = recipe.pretraining()
    config.model = recipe.bert(num_layers=2, width=32, num_heads=2, ffn_width=64)
    config.update(batch=8, length=32)
    config.schedule = recipe.linear(peak=1.0, warmup=2, rewarmup=0)
    config.update(fields)
    config.stages = recipe.stages(*stages_of_run)
    return resolve.resolve(config)


def rates(run, index):
    rate, stage = stages.learning_rate(run.stages, index), run.stages[index]
    return [float(rate(step)) for step in range(stage.start, stage.end)]


def test_one_line_of_rates_runs_over_all_stages_that_share_a_schedule():
    run = run_of(dict(steps=5), dict(steps=5))

    assert rates(run, 0) + rates(run, 1) == pytest.approx(
        [0.45, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0]
    )


def test_a_stage_with_its_own_schedule_counts_from_its_own_start():
    own = recipe.published(peak=2.0, end=0.0, decay_steps=4, warmup=2)

    run = run_of(dict(steps=5), dict(steps=4, schedule=own))

    assert rates(run, 0) == pytest.approx([0.4, 0.6, 0.4, 0.2, 0])
    assert rates(run, 1) == pytest.approx([0.5, 1.0, 0.5, 0])


def test_a_stage_may_have_its_own_optimiser():
    run = run_of(dict(steps=5), dict(steps=5, optimizer=recipe.lamb(clip=0.5)))

    assert [stage.optimizer.name for stage in run.stages] == ["adamw", "lamb"]
    assert run.stages[1].optimizer.clip == 0.5


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(task="masked_ml"), r"config.stages\[0\].task is 'masked_ml'; did you mean"),
        (dict(schedule=dict(name="cosine")), r"config.stages\[0\].schedule.name is 'cosine'"),
        (dict(optimizer=dict(name="lamb", lr=1)), r"config.stages\[0\].optimizer.lr is no"),
    ],
)
def test_a_misspelt_part_of_a_stage_is_named(fields, message):
    with pytest.raises(InputError, match=message):
        run_of(dict(steps=5, **fields))


@pytest.mark.parametrize(
    "fields, length, expected",
    [
        (dict(), 128, 20),  # as published
        (dict(), 512, 76),  # as published
        (dict(), 64, 10),  # 0.15 of 62 tokens and one more
        (dict(rate=0.4), 512, 205),  # 0.4 of 510 tokens and one more
        (dict(rate=0.3), 128, 39),
        (dict(rate=0.1), 512, 52),
        (dict(rate=0.4, max_predictions=50), 512, 50),
    ],
)
def test_the_number_of_masked_positions_follows_from_rate_and_length(fields, length, expected):
    assert MaskingConfig(**fields).num_predictions(length) == expected


def test_a_stage_overrides_how_the_run_masks():
    run = run_of(
        dict(steps=1, masking=dict(rate=0.3)), dict(steps=1),
        masking=dict(rate=0.2, max_predictions=9, whole_word=True),
    )  # fmt: skip

    assert [stage.masking for stage in run.stages] == [
        MaskingConfig(0.3, 9, True), MaskingConfig(0.2, 9, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "masking, message",
    [
        (dict(rate=0.0), "masking.rate is 0.0; expected a number above 0 and below 1"),
        (dict(rate=1.0), "masking.rate is 1.0; expected a number above 0 and below 1"),
        (dict(rate=float("nan")), "masking.rate is nan; expected a number above 0 and below 1"),
        (dict(rate="high"), "masking.rate is 'high'; expected a number above 0 and below 1"),
        (
            dict(max_predictions=-1),
            "masking.max_predictions is -1; expected a whole number of at least 0",
        ),
        (dict(rat=0.3), "masking.rat is no field of a recipe; did you mean 'rate'"),
    ],
)
def test_a_masking_field_that_cannot_be_is_named(masking, message):
    sound = run_of(dict(steps=1)).recipe

    with pytest.raises(InputError, match=f"^config.{message}"):
        resolve.resolve(sound | dict(masking=sound["masking"] | masking))
    with pytest.raises(InputError, match=rf"^config.stages\[1\].{message}"):
        run_of(dict(steps=1), dict(steps=1, masking=masking))


def test_the_masking_of_a_stage_is_a_set_of_fields():
    with pytest.raises(
        InputError, match=r"stages\[0\].masking is 0.3; expected a dict of its fields"
    ):
        run_of(dict(steps=1, masking=0.3))


SMALL = dict(num_layers=1, width=16, num_heads=2, ffn_width=32, max_length=32)


def test_a_stage_trains_at_its_own_masking_rate_and_is_evaluated_at_that_of_the_run():
    model, family = recipe.bert(vocab_size=100, **SMALL), families.find("bert")
    runs = [run_of(dict(steps=1, masking=own), model=model) for own in ({}, dict(rate=0.4))]
    vocab = calibration.vocabulary(100)
    base, own = (stages.task(StageContext(family, run, 0, vocab)) for run in runs)
    params, inputs = tiny.params(base), tiny.inputs(length=32)
    batch = {name: inputs[name] for name in ("tokens", "types")}
    batch["ids"] = np.stack([[0, 0, 0], [0, 1, 2]], axis=1).astype(np.uint32)

    masked = [task.prepare(batch)["weights"].sum(axis=1).tolist() for task in (base, own)]
    figures = [jax.jit(task.evaluate)(params, (), batch) for task in (base, own)]

    assert masked == [[4, 4, 4], [11, 10, 10]]  # of 27, 26 and 25 tokens
    assert figures[0]["mask_loss"][1] == 12
    jax.tree.map(np.testing.assert_array_equal, *figures)
