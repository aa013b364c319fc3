"""Tests of `bertgrow distill` killed in real processes: it resumes with equal metrics."""

import random
import time
from pathlib import Path

import processes
import pytest

from bertgrow.train import metrics

RECIPE = f"{Path(__file__).with_name('distillations.py')}:long"
HAND_OVERS = (60, 120)  # steps at which a stage ends
KILLS = {  # where a kill falls: the stage, and the steps between which it does
    "the teacher": ("0", 10, 60),
    "transfer of layer 0": ("1", 61, 90),
    "transfer of layer 1": ("1", 91, 120),
    "distillation": ("2", 121, 150),
    "distillation, further on": ("2", 151, 180),
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def launch(store):
    """Starts `bertgrow distill` in a process of its own."""
    return processes.launcher("distill", RECIPE, store=store)


@pytest.fixture(scope="module")
def undisturbed(launch, tmp_path_factory):
    return processes.run_undisturbed(launch, tmp_path_factory.mktemp("undisturbed"))[0]


def newest(workdir):
    """Stage and step of the last line of training metrics."""
    path = workdir / "metrics.jsonl"
    rows = [row for row in metrics.read(path) if row["split"] == "train"]
    return (rows[-1]["stage"], rows[-1]["step"]) if rows else ("", 0)


def test_killed_at_a_random_moment_of_every_stage_and_phase_it_ends_with_equal_metrics(
    launch, undisturbed, tmp_path
):
    rng, workdir = random.Random(0), tmp_path / "run"
    path, killed_at = workdir / "metrics.jsonl", {}

    for place, (_, first, last) in KILLS.items():
        reached = rng.randrange(first, (first + last) // 2)
        process = launch(workdir)
        processes.wait_for(lambda: path.exists() and newest(workdir)[1] >= reached, process)  # noqa: B023
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        assert process.wait() == -9, processes.said(workdir)
        killed_at[place] = newest(workdir)

    for place, (stage, first, last) in KILLS.items():
        at = killed_at[place]
        assert at[0] == stage and first <= at[1] < last, f"{place} was killed at {at}"
    assert processes.finish_and_compare(launch, workdir, undisturbed) == []


@pytest.mark.parametrize("step", HAND_OVERS)
def test_killed_at_a_hand_over_it_is_done_again_and_metrics_are_equal(
    launch, undisturbed, tmp_path, step
):
    workdir = tmp_path / "run"
    saved = workdir / "checkpoints" / "checksums" / f"{step}.json"
    entered = workdir / "growth" / f"{step // 60 - 1}-{step // 60}.json"

    process = launch(workdir)
    processes.wait_for(saved.exists, process)
    was_entered = entered.exists()
    process.kill()

    assert process.wait() == -9
    assert not was_entered
    assert processes.finish_and_compare(launch, workdir, undisturbed) == []
