"""Real processes, killed: the same command again, and the metrics of an undisturbed run."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bertgrow.train import metrics

RECIPE = Path(__file__).with_name("recipes.py")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def launch(store, tmp_path_factory):
    """Starts `bertgrow pretrain` in a process of its own; compilations are remembered."""
    cache = tmp_path_factory.mktemp("compiled")

    def start(workdir, *extra):
        command = [sys.executable, "-m", "bertgrow", "pretrain", "--config", f"{RECIPE}:long"]
        command += [f"--config.data.store={store.folder}", "--workdir", str(workdir), *extra]
        variables = dict(JAX_COMPILATION_CACHE_DIR=str(cache), JAX_PLATFORMS="cpu")
        variables |= dict(JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0", PJRT_NPROC="2")
        with open(f"{workdir}.log", "a") as log:
            return subprocess.Popen(
                command,
                env=os.environ | variables,
                stdout=log,
                stderr=log,
                cwd=RECIPE.parents[1],
            )

    return start


@pytest.fixture(scope="module")
def undisturbed(launch, tmp_path_factory):
    """The metrics of a run that nobody disturbs, and how long it takes once compiled."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert launch(folder / "cold").wait() == 0
    began = time.monotonic()
    assert launch(folder / "warm").wait() == 0
    seconds = time.monotonic() - began
    found = [metrics.read(folder / name / "metrics.jsonl") for name in ("cold", "warm")]
    assert metrics.differences(*found) == []
    return found[0], seconds


def finish_and_compare(launch, workdir, undisturbed):
    assert launch(workdir).wait() == 0, Path(f"{workdir}.log").read_text()
    return metrics.differences(undisturbed, metrics.read(workdir / "metrics.jsonl"))


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.001)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_stopped_at_random_moments_ends_with_equal_metrics(
    launch, undisturbed, tmp_path, sent
):
    expected, seconds = undisturbed
    chance = random.Random(sent)
    workdir = tmp_path / "run"

    for _ in range(5):
        process = launch(workdir)
        time.sleep(chance.uniform(0.25, 0.9) * seconds)
        process.send_signal(sent)
        sent_at = time.monotonic()
        code = process.wait()
        if sent == signal.SIGTERM:
            assert time.monotonic() - sent_at < 20  # 10 s and one save, on a busy machine
            assert code in (0, 75, -signal.SIGTERM)  # the last: while Python was importing

    assert finish_and_compare(launch, workdir, expected) == []


@pytest.mark.parametrize("sent, code", [(signal.SIGKILL, -9), (signal.SIGTERM, 75)])
def test_a_run_stopped_during_growth_grows_again_and_ends_with_equal_metrics(
    launch, undisturbed, tmp_path, sent, code
):
    expected, _ = undisturbed
    workdir = tmp_path / "run"
    saved = workdir / "checkpoints" / "checksums" / "80.json"

    process = launch(workdir)
    wait_for(saved.exists, process)
    assert not (workdir / "growth" / "1-2.json").exists()
    process.send_signal(sent)

    assert process.wait() == code
    assert finish_and_compare(launch, workdir, expected) == []


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(
    launch, undisturbed, tmp_path
):
    expected, _ = undisturbed
    workdir = tmp_path / "run"
    process = launch(workdir)
    wait_for((workdir / "checkpoints" / "checksums" / "98.json").exists, process)
    process.kill()
    process.wait()
    newest = max(int(path.stem) for path in (workdir / "checkpoints/checksums").glob("*.json"))
    files = [p for p in (workdir / "checkpoints" / str(newest)).rglob("*") if p.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    damaged = bytearray(largest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    largest.write_bytes(damaged)

    assert finish_and_compare(launch, workdir, expected) == []

    assert f"checkpoint {newest} is not used" in Path(f"{workdir}.log").read_text()


def test_a_time_limit_saves_and_stops_with_75(launch, tmp_path):
    workdir = tmp_path / "run"
    for_ever = "--config.stages[3].steps=10000000"

    code = launch(workdir, for_ever, "--time-limit", "0.3").wait()

    assert code == 75
    assert "continue with: bertgrow pretrain" in Path(f"{workdir}.log").read_text()
    assert list((workdir / "checkpoints" / "checksums").iterdir())


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(launch, tmp_path):
    workdir = tmp_path / "run"

    process = launch(workdir, "--config.schedule.peak=1e30", "--config.optimizer.clip=0.0")

    assert process.wait() == 1
    log = Path(f"{workdir}.log").read_text()
    assert "rows" in log and "checkpoint" in log
