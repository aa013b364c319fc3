"""Tests of killed real processes: the same command resumes with equal metrics."""

import random
import signal
import time
from pathlib import Path

import processes
import pytest

from bertgrow.train import metrics

RECIPE = f"{Path(__file__).resolve().parents[1].joinpath('small_recipe.py')}:long"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def launch(store):
    """Starts `bertgrow pretrain` in a process of its own."""
    return processes.launcher("pretrain", RECIPE, store=store)


@pytest.fixture(scope="module")
def undisturbed(launch, tmp_path_factory):
    return processes.run_undisturbed(launch, tmp_path_factory.mktemp("undisturbed"))


def test_a_run_killed_at_random_moments_ends_with_equal_metrics(launch, undisturbed, tmp_path):
    expected, seconds = undisturbed
    chance = random.Random(9)
    workdir = tmp_path / "run"

    for _ in range(5):
        process = launch(workdir)
        time.sleep(chance.uniform(0.25, 0.9) * seconds)
        process.kill()
        process.wait()

    assert processes.finish_and_compare(launch, workdir, expected) == []


@pytest.mark.parametrize("sent, code", [(signal.SIGKILL, -9), (signal.SIGTERM, 75)])
def test_a_run_stopped_during_growth_grows_again_and_ends_with_equal_metrics(
    launch, undisturbed, tmp_path, sent, code
):
    expected, _ = undisturbed
    workdir = tmp_path / "run"
    saved = workdir / "checkpoints" / "checksums" / "40.json"

    process = launch(workdir)
    processes.wait_for(saved.exists, process)
    assert not (workdir / "growth" / "0-1.json").exists()
    process.send_signal(sent)

    assert process.wait() == code
    assert processes.finish_and_compare(launch, workdir, expected) == []


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(
    launch, undisturbed, tmp_path
):
    expected, _ = undisturbed
    workdir = tmp_path / "run"
    process = launch(workdir)
    processes.wait_for((workdir / "checkpoints" / "checksums" / "56.json").exists, process)
    process.kill()
    process.wait()
    newest = max(int(path.stem) for path in (workdir / "checkpoints/checksums").glob("*.json"))
    files = [p for p in (workdir / "checkpoints" / str(newest)).rglob("*") if p.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    damaged = bytearray(largest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    largest.write_bytes(damaged)

    assert processes.finish_and_compare(launch, workdir, expected) == []

    assert f"checkpoint {newest} is not used" in processes.said(workdir)


def test_a_time_limit_saves_and_stops_with_75(launch, tmp_path):
    workdir = tmp_path / "run"
    for_ever = "--config.stages[1].steps=10000000"

    code = launch(workdir, for_ever, "--time-limit", "0.3").wait()

    assert code == 75
    assert "continue with: bertgrow pretrain" in processes.said(workdir)
    rows = metrics.read(workdir / "metrics.jsonl")
    saved = [int(path.stem) for path in workdir.glob("checkpoints/checksums/*.json")]
    # On a busy machine the limit may come before the first step.
    assert max(saved, default=0) == max((row["step"] for row in rows), default=0)


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(launch, tmp_path):
    workdir = tmp_path / "run"

    process = launch(workdir, "--config.schedule.peak=2e9", "--config.optimizer.clip=0.0")

    assert process.wait() == 1
    log = processes.said(workdir)
    assert "sequences" in log and "checkpoint" in log
