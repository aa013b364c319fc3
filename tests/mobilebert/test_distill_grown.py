"""Tests of one run with a grown teacher and a student of half its depth."""

import json

import distilling
import jax
import numpy as np
import pytest
import small_mobilebert as small

from bertgrow.train import metrics
from mobilebert.models import mobilebert
from mobilebert.models.encoder import Maps

GROWN, TAUGHT, TRANSFERRED = 6, 12, 92  # steps at which a stage ends
TEACHER, STUDENT = 1, 2  # stages
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(store, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "grown"
    assert distilling.distil(store, workdir, variant="grow") == 0
    return workdir


def test_growth_is_certified_then_the_copy(finished):
    grown, copied = (distilling.certificate(finished, name) for name in ("0-1", "1-2"))

    stages = json.loads((finished / "config.json").read_text())["stages"]
    assert [stage["layers"] for stage in stages] == [2, 4, 2, 2]
    assert [stage["length"] for stage in stages] == [16, 32, 32, 32]
    operators = {row["operator"]: row["holds"] for row in grown["rows"]}
    assert operators == {"uneven": True, "stack": None, "lengthen": True}
    assert [row["operator"] for row in copied["rows"]] == ["copy"]
    assert {leaf["what"] for leaf in copied["leaves"]} == {"copied", "fresh", "left"}
    assert (grown["step"], copied["step"]) == (GROWN, TAUGHT)


def test_each_layer_learns_from_the_last_layer_of_its_half_of_the_teacher(store, finished):
    begin, *_, end = (row["transfer_hidden"] for row in distilling.rows(finished, "eval", "2"))

    distance = distances(distilling.made(store, "grow"), finished)

    assert distance.shape == (2, 4)
    assert (np.array(end) < 0.5 * np.array(begin)).all()
    # Compiled apart; the sums are the same.
    np.testing.assert_allclose(distance[[0, 1], [1, 3]], end, rtol=1e-4)
    assert distance.argmin(axis=1).tolist() == [1, 3]


def distances(job, workdir):
    """Of held-out features after layer transfer: float [student layers, teacher layers]."""
    (batch,) = job.held_out(STUDENT)
    inputs = job.stages[STUDENT].task.prepare(batch)

    def maps(step, index):
        params = distilling.saved(job, workdir, step, index).params
        return jax.jit(mobilebert.maps(job.settings.stages[index].model))(params, inputs)

    teacher, student = maps(TAUGHT, TEACHER), maps(TRANSFERRED, STUDENT)

    def to(layer):
        repeated = Maps(*(np.stack([each[layer]] * 2) for each in teacher))
        return small.transfer_losses(student, repeated, inputs["token_weights"], num_layers=2)[
            1
        ]

    return np.stack([to(layer)["hidden"] for layer in range(4)], axis=1)


def test_the_last_stage_distils_from_the_grown_teacher(finished):
    begin, *_, end = distilling.rows(finished, "eval", "3")

    # Held-out sequences have fixed masks; the losses of two steps differ by their batches.
    assert end["mask_loss"] < begin["mask_loss"] - 0.1


def test_metrics_are_equal_after_crashes_in_the_teacher_and_in_the_transfer(
    finished, store, tmp_path, monkeypatch
):
    distilling.crash_at(monkeypatch, GROWN + 2, TAUGHT + 22)

    for _ in range(2):
        with pytest.raises(RuntimeError, match="power"):
            distilling.distil(store, tmp_path, variant="grow")
    assert distilling.distil(store, tmp_path, variant="grow") == 0

    both = [metrics.read(path / "metrics.jsonl") for path in (finished, tmp_path)]
    assert metrics.differences(*both) == []
