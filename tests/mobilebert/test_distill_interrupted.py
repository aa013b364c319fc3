"""Tests of `bertgrow distill` killed in real processes: it resumes with equal metrics."""

import random
import time
from pathlib import Path

import processes
import pytest

from bertgrow.train import metrics

RECIPE = f"{Path(__file__).with_name('distillations.py')}:long"
KILLS = {  # where a kill falls: the stage, and the steps between which it does
    "the teacher": ("0", 10, 60),
    "the end of the teacher": ("0", 60, 61),
    "transfer of layer 0": ("1", 61, 90),
    "transfer of layer 1": ("1", 91, 120),
    "the end of the transfer": ("1", 120, 121),
    "distillation": ("2", 121, 170),
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def launch(store):
    """Starts `bertgrow distill` in a process of its own."""
    return processes.launcher("distill", RECIPE, store=store)


@pytest.fixture(scope="module")
def undisturbed(launch, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    assert launch(workdir).wait() == 0, processes.said(workdir)
    return metrics.read(workdir / "metrics.jsonl")


def newest(workdir):
    """Stage and step of the last line of training metrics."""
    path = workdir / "metrics.jsonl"
    rows = [row for row in metrics.read(path) if row["split"] == "train"]
    return (rows[-1]["stage"], rows[-1]["step"]) if rows else ("", 0)


def test_killed_in_every_stage_and_phase_and_between_them_it_ends_with_equal_metrics(
    launch, undisturbed, tmp_path
):
    """At random moments; and once a stage is saved, before the next one is entered."""
    rng, workdir = random.Random(0), tmp_path / "run"
    path, killed_at = workdir / "metrics.jsonl", {}

    for place, (stage, first, last) in KILLS.items():
        process = launch(workdir)
        if is_hand_over := last == first + 1:
            saved = workdir / "checkpoints" / "checksums" / f"{first}.json"
            processes.wait_for(saved.exists, process)
        else:
            reached = rng.randrange(first, (first + last) // 2)
            processes.wait_for(
                lambda: path.exists() and newest(workdir)[1] >= reached,  # noqa: B023
                process,
            )
            time.sleep(rng.uniform(0, 0.03))
        entered = workdir / "growth" / f"{stage}-{int(stage) + 1}.json"
        assert not (is_hand_over and entered.exists())
        process.kill()
        assert process.wait() == -9, processes.said(workdir)
        killed_at[place] = newest(workdir)

    for place, (stage, first, last) in KILLS.items():
        at = killed_at[place]
        assert at[0] == stage and first <= at[1] < last, f"{place} was killed at {at}"
    assert processes.finish_and_compare(launch, workdir, undisturbed) == []
