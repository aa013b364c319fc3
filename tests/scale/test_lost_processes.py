"""Tests of two processes of which one or both end early, in each phase of a run."""

import re
import signal
from typing import NamedTuple

import pods
import pytest
import runs

RECIPE = f"{runs.RECIPE}:stopped"
EVALUATE_EVERY = 8  # steps, of this recipe
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


class Stop(NamedTuple):
    """A phase of a run, and what ends its processes there."""

    phase: str
    sent: signal.Signals
    processes: tuple


# In the order of a run, so that each start goes on from where the one before has ended.
STOPS = [
    Stop(phase, sent, processes)
    for phase in ("compiling", "step", "evaluation", "save", "growing")
    for sent, processes in (
        (signal.SIGTERM, (1,)),
        (signal.SIGKILL, (1,)),
        (signal.SIGKILL, (0, 1)),
    )
]


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


def test_runs_stopped_in_each_phase_continue_and_end_with_equal_metrics(start, store, tmp_path):
    workdir = tmp_path / "run"
    for stop in STOPS:
        pod = start()
        pod.wait_for(has_reached(stop.phase, pod, workdir))
        check = check_asked if stop.sent == signal.SIGTERM else check_killed
        check(pod, stop)

    pod = start()
    pod.wait_for("growing")
    pod.parents[0].send_signal(signal.SIGKILL)  # with its child and the rendezvous
    assert pod.leave() == [-9, 75]
    assert "process 0 (localhost) was lost: its connection closed" in pod.last_line(1)

    pod = start()
    assert pod.codes() == [0, 0], pod.said(1)
    expected = runs.alone("pretrain", RECIPE, store, tmp_path / "alone", on=1)
    runs.assert_equal(workdir, expected)


def has_reached(phase, pod, workdir):
    """A function that returns whether process 0 is in a phase."""
    if phase == "save":
        return is_saving(workdir)
    if phase == "evaluation":
        return lambda: f"step {next_evaluation(pod)}/" in pod.said()  # of 32 batches
    return lambda: re.search(r"step \d+/" if phase == "step" else phase, pod.said())


def is_saving(workdir):
    """Whether a checkpoint has begun that has no checksum file yet."""
    folder = workdir / "checkpoints"
    old = {path.name for path in folder.glob("[0-9]*")}  # cut off by the stop before

    def check():
        begun = {path.name for path in folder.glob("[0-9]*")} - old
        saved = {path.stem for path in folder.glob("checksums/*.json")}
        return bool({name.partition(".")[0] for name in begun} - saved)

    return check


def check_asked(pod, stop):
    """Sends SIGTERM: all save, end with 75 and name it."""
    (asked,) = stop.processes
    pod.terminate(asked)

    assert pod.leave() == [75, 75], stop
    assert "stopped early (SIGTERM), everything is saved" in pod.last_line(asked)
    line = pod.last_line(1 - asked)
    if stop.phase in ("compiling", "growing"):  # the processes cannot agree meanwhile
        assert f"process {asked} " in line and "stopped early" in line, line
    else:
        assert f"stopped early (SIGTERM in process {asked}), everything is saved" in line, line
    check_evaluation(pod, stop)


def check_killed(pod, stop):
    """Kills processes that train: the others, and all parents, end and name the first."""
    pod.kill(*stop.processes)

    codes = pod.leave()
    assert set(codes) <= {75, 137} and 137 in codes, (stop, codes)
    for number, code in enumerate(codes):
        if code == 137:
            assert number in stop.processes
        line = pod.last_line(number)
        assert "was killed by SIGKILL" in line, (stop, line)
        if code == 75:  # the second to end names the first
            assert f"process {1 - number} " in line
    check_evaluation(pod, stop)


def check_evaluation(pod, stop):
    if stop.phase == "evaluation":
        assert f"step {next_evaluation(pod)}: held-out" not in pod.said()


def next_evaluation(pod):
    """The first step after the restored one at which the recipe evaluates."""
    restored = re.search(r"restored step (\d+)", pod.said())
    step = int(restored[1]) if restored else 0
    return (step // EVALUATE_EVERY + 1) * EVALUATE_EVERY


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
