"""Tests of masking rates: the stage's for training, the run's for held-out sequences."""

import distilling
import jax
import pytest

from bertgrow.data.sequences import masking
from bertgrow.models import families
from bertgrow.objectives import stages
from bertgrow.planning import calibration, memory
from bertgrow.recipes import build as recipe
from bertgrow.recipes import load, resolve
from bertgrow.teacher_cache import cache


@pytest.fixture(scope="module")
def run():
    """The settings and the stages of a teacher and its students, which mask 40 %."""
    config = load.read(f"{distilling.RECIPE}:every", [])
    config.model.vocab_size = 100
    for stage in config.stages[1:]:
        stage.masking = recipe.ConfigDict(dict(rate=0.4))
    settings, family = resolve.resolve(config), families.find("mobilebert")
    return settings, stages.make(settings, family, calibration.vocabulary(100))


def test_targets_and_cache_of_a_student_belong_to_the_masking_of_its_stage(run):
    settings, stages_of_run = run
    rates = [cache._recipe(settings, index)["masking"]["rate"] for index in range(5)]

    shapes = [shape for shape, _ in stages_of_run[3].targets.fields.values()]

    assert rates == [0.15, 0.4, 0.4, 0.4, 0.4]
    assert {shape[0] for shape in shapes} == {13}  # soft labels at 0.4 of 30 tokens and one


@pytest.mark.parametrize("index", [2, 3], ids=["joint", "distill"])
def test_a_student_is_evaluated_at_the_masking_rate_of_the_run(run, index, monkeypatch):
    _, stages_of_run = run
    task, rates, mask_tokens = stages_of_run[index].task, [], masking.mask_tokens

    def recorded(*args, rate, **options):
        rates.append(rate)
        return mask_tokens(*args, rate=rate, **options)

    monkeypatch.setattr(masking, "mask_tokens", recorded)
    batch, key = memory.batch_shapes(8, 32), jax.random.key(0)
    params, teacher = (jax.eval_shape(each.init, key) for each in (task, stages_of_run[0].task))

    jax.eval_shape(task.prepare, batch)
    trained = [rates.pop() for _ in list(rates)]
    jax.eval_shape(task.evaluate, params, teacher, batch)

    assert set(trained) == {0.4}
    assert set(rates) == {0.15}
