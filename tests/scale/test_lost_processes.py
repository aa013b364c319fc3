"""Tests of two processes of which one or both end early, in each phase of a run."""

import re
import signal
from pathlib import Path

import pods
import pytest
from test_two_processes import alone, assert_equal

RECIPE = f"{Path(__file__).with_name('recipe.py')}:stopped"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture
def start(store, tmp_path):
    """Starts both processes on one working directory; ends them after the test."""
    started = []

    def start(*overrides):
        started.append(pods.of_recipe(tmp_path / "run", "pretrain", RECIPE, store, *overrides))
        return started[-1]

    yield start
    for pod in started:
        pod.end()


def is_saving(workdir):
    """Whether a checkpoint has begun that has no checksum file yet."""
    folder = workdir / "checkpoints"

    def check():
        begun = {path.name.partition(".")[0] for path in folder.glob("[0-9]*")}
        return bool(begun - {path.stem for path in folder.glob("checksums/*.json")})

    return check


def test_runs_stopped_in_each_phase_continue_and_end_with_equal_metrics(start, store, tmp_path):
    workdir = tmp_path / "run"

    pod = start()
    pod.wait_for("compiling")
    pod.terminate(1)
    assert pod.leave() == [75, 75]
    assert "SIGTERM" in pod.said(1)
    assert "process 1" in pod.last_line(0) and "stopped early" in pod.last_line(0)

    pod = start()
    pod.wait_for("step 2/")
    pod.kill(1)
    assert pod.leave() == [75, 137]
    assert "process 1 " in pod.last_line(0) and "was killed by SIGKILL" in pod.last_line(0)

    pod = start()
    pod.wait_for("step 3/")
    pod.terminate(1)
    assert pod.leave() == [75, 75]
    assert "stopped early (SIGTERM in process 1), everything is saved" in pod.last_line(0)

    pod = start()
    pod.wait_for(lambda: f"step {next_evaluation(pod)}/" in pod.said())  # of 32 batches
    pod.terminate(0)
    assert pod.leave() == [75, 75]
    assert "SIGTERM in process 0" in pod.last_line(1)
    assert f"step {next_evaluation(pod)}: held-out" not in pod.said()

    pod = start()
    pod.wait_for(is_saving(workdir))
    pod.kill(0, 1)
    assert set(pod.leave()) <= {75, 137}  # the second to end names the first

    pod = start()
    pod.wait_for("growing")
    pod.terminate(1)
    assert pod.leave() == [75, 75]

    pod = start()
    pod.wait_for("growing")
    pod.parents[0].send_signal(signal.SIGKILL)  # with its child and the rendezvous
    assert pod.leave() == [-9, 75]
    assert "process 0 (localhost) was lost: its connection closed" in pod.last_line(1)

    pod = start()
    assert pod.codes() == [0, 0], pod.said(1)
    assert_equal(workdir, alone("pretrain", RECIPE, store, tmp_path / "alone"))


def next_evaluation(pod):
    """The first step after the restored one at which the recipe evaluates."""
    restored = re.search(r"restored step (\d+)", pod.said())
    return (int(restored[1]) if restored else 0) // 8 * 8 + 8


@pytest.mark.parametrize("overrides, message", [
    ((["--config.seed=3"], ["--config.seed=4"]), "the recipe is"),
    ((["--config.length=16"], ["--config.length=long"]), "expected a whole number"),
])  # fmt: skip
def test_processes_with_other_recipes_are_refused_before_anything_is_written(
    start, tmp_path, overrides, message
):
    pod = start(overrides)

    assert pod.codes() == [2, 2]
    assert any(message in pod.last_line(number) for number in range(2))
    assert not (tmp_path / "run").exists()
