"""`bertgrow distill` in real processes, killed anywhere: the same command, equal metrics."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bertgrow.train import metrics

RECIPE = Path(__file__).with_name("distillations.py")
HAND_OVERS = (60, 120)  # steps at which a stage ends
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def launch(store, tmp_path_factory):
    """Starts the command in a process of its own; compilations are remembered."""
    cache = tmp_path_factory.mktemp("compiled")

    def start(workdir):
        command = [sys.executable, "-m", "bertgrow", "distill", "--config", f"{RECIPE}:long"]
        command += [f"--config.data.store={store.folder}", "--workdir", str(workdir)]
        variables = dict(JAX_COMPILATION_CACHE_DIR=str(cache), JAX_PLATFORMS="cpu")
        variables |= dict(JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0", PJRT_NPROC="2")
        with open(f"{workdir}.log", "a") as log:
            return subprocess.Popen(
                command,
                env=os.environ | variables,
                stdout=log,
                stderr=log,
                cwd=RECIPE.parents[2],
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


def test_killed_at_random_moments_it_ends_with_equal_metrics(launch, undisturbed, tmp_path):
    expected, seconds = undisturbed
    chance, workdir = random.Random(0), tmp_path / "run"

    for _ in range(5):
        process = launch(workdir)
        time.sleep(chance.uniform(0.25, 0.9) * seconds)
        process.kill()
        process.wait()

    assert finish_and_compare(launch, workdir, expected) == []


@pytest.mark.parametrize("step", HAND_OVERS)
def test_killed_at_a_hand_over_it_is_done_again_and_metrics_are_equal(
    launch, undisturbed, tmp_path, step
):
    expected, _ = undisturbed
    workdir = tmp_path / "run"
    saved = workdir / "checkpoints" / "checksums" / f"{step}.json"
    entered = workdir / "growth" / f"{step // 60 - 1}-{step // 60}.json"

    process = launch(workdir)
    while not saved.exists() and process.poll() is None:
        time.sleep(0.001)
    was_entered = entered.exists()
    process.kill()

    assert process.wait() == -9
    assert not was_entered
    assert finish_and_compare(launch, workdir, expected) == []
