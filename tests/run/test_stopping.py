"""Tests of runs that end early, in this process: SIGHUP, a failed thread, too little memory."""

import os
import signal
import threading

import pytest
from small_runs import pretrain

from bertgrow.run import journal
from bertgrow.train import environment, metrics

STEP = 3  # within the run, between two checkpoints


def hang_up():
    os.kill(os.getpid(), signal.SIGHUP)


def fail_in_a_thread():
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()


@pytest.fixture
def stopped(store, tmp_path, monkeypatch):
    """Runs the command and calls a function after a step; returns the exit code."""
    take, handler = journal.Journal.take, signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def run(act):
        def acting(self, info):
            take(self, info)
            if info.step == STEP:
                act()

        monkeypatch.setattr(journal.Journal, "take", acting)
        return pretrain(store, tmp_path / "run", variant=":plain")

    yield run
    signal.signal(signal.SIGHUP, handler)


def check_saved(workdir):
    """The last step that was trained is the one that is saved."""
    last = metrics.read(workdir / "metrics.jsonl")[-1]["step"]
    (saved,) = (workdir / "checkpoints" / "checksums").iterdir()
    assert STEP <= last < 8 and saved.name == f"{last}.json"


def test_sighup_saves_and_ends_the_run_with_75(stopped, tmp_path, capsys):
    assert stopped(hang_up) == 75

    error = capsys.readouterr().err
    words = "stopped early (SIGHUP), everything is saved; continue with: bertgrow pretrain"
    assert error.startswith(f"bertgrow: {words}") and error.count("\n") == 1
    check_saved(tmp_path / "run")


def test_an_error_of_a_helper_thread_saves_and_ends_the_run_with_that_error(stopped, tmp_path):
    with pytest.raises(ZeroDivisionError):
        stopped(fail_in_a_thread)

    check_saved(tmp_path / "run")


def test_a_state_beyond_the_memory_is_refused_before_anything_is_trained(
    store, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(environment, "memory", lambda: 1000.0)

    assert pretrain(store, tmp_path / "run", variant=":plain") == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "optimizer state need" in error and "and the devices have 1 kB" in error
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
