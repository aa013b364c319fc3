"""From recipes to stages: what each stage is told."""

import pytest

from bertgrow import stages
from bertgrow.errors import InputError
from bertgrow.recipes import build as recipe
from bertgrow.recipes import resolve


def run_of(*given, **fields):
    made = recipe.pretraining()
    made.model = recipe.bert(num_layers=2, width=32, num_heads=2, ffn_width=64)
    made.update(batch=8, length=32)
    made.schedule = recipe.linear(peak=1.0, warmup=2, rewarmup=0)
    made.update(fields)
    made.stages = recipe.stages(*given)
    return resolve.resolve(made)


def rates(run, index):
    rate, stage = stages.make_rate(run, index), run.stages[index]
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
    "given, said",
    [
        (dict(task="masked_ml"), r"config.stages\[0\].task is 'masked_ml'; did you mean"),
        (dict(schedule=dict(name="cosine")), r"config.stages\[0\].schedule.name is 'cosine'"),
        (dict(optimizer=dict(name="lamb", lr=1)), r"config.stages\[0\].optimizer.lr is no"),
    ],
)
def test_a_misspelt_part_of_a_stage_is_named(given, said):
    with pytest.raises(InputError, match=said):
        run_of(dict(steps=5, **given))
