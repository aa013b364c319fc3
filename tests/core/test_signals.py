"""Tests of stopping on signals, in real processes where needed."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bertgrow.core import errors, signals

ROOT = Path(__file__).parents[2]
HEAD = f"""
import os, sys, threading, time
sys.path.insert(0, {str(ROOT)!r})
from bertgrow.core import signals
"""


def start(body):
    """Runs Python code and returns once it prints `ready`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD + body],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": ""},
    )
    assert process.stdout.readline().strip() == "ready"
    return process


def send(process, *numbers, pause=1.0):
    """Sends signals; returns exit code, stderr and seconds since the first."""
    began = time.monotonic()
    for i, number in enumerate(numbers):
        time.sleep(pause if i else 0)
        process.send_signal(number)
    _, output = process.communicate(timeout=60)
    return process.returncode, output, time.monotonic() - began


LONG_COMPILATION = """
import jax, jax.numpy as jnp
def long(x):
    for i in range(6000):
        x = jnp.sin(x @ x) + i
    return x
lowered = jax.jit(long).lower(jnp.ones((7, 7)))
with signals.StopRequest(resume="continue me") as stop:
    with stop.uninterruptible(lambda: print("saved", file=sys.stderr)):
        print("ready", flush=True)
        began = time.monotonic()
        lowered.compile()
        print("compiled in", time.monotonic() - began, file=sys.stderr)
"""


@pytest.mark.slow
def test_sigterm_is_acted_on_during_a_long_compilation():
    code, output, seconds = send(start(LONG_COMPILATION), signal.SIGTERM)

    assert code == signals.STOPPED, output
    assert seconds < 10
    assert "compiled" not in output
    assert re.search(r"saved\nstopped early \(SIGTERM\).*continue with: continue me", output)


WAITING = """
def finish():
    time.sleep({save})
    {outcome}
with signals.StopRequest() as stop:
    with stop.uninterruptible(finish):
        print("ready", flush=True)
        time.sleep(30)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_uninterruptible_section_is_left_with_75(number):
    code, output, seconds = send(start(WAITING.format(save=0, outcome="pass")), number)

    assert code == 75 and seconds < 10, output


@pytest.mark.parametrize(
    "outcome, expected",
    [
        ("raise RuntimeError('lost')", 1),
        ("from bertgrow.core import errors; raise errors.InputError('disk full')", 2),
    ],
)
def test_a_lost_save_is_never_75(outcome, expected):
    code, output, _ = send(start(WAITING.format(save=0, outcome=outcome)), signal.SIGTERM)

    assert code == expected
    assert "the last save failed" in output


def test_a_second_signal_leaves_at_once():
    process = start(WAITING.format(save=25, outcome="pass"))

    code, output, seconds = send(process, signal.SIGTERM, signal.SIGTERM)

    assert code == 128 + signal.SIGTERM and seconds < 10, output


STEPS = """
with signals.StopRequest() as stop:
    print("ready", flush=True)
    while not stop.requested:
        time.sleep(0.01)
    print(stop.reason, file=sys.stderr)
"""


def test_outside_such_a_section_the_request_is_only_recorded():
    code, output, _ = send(start(STEPS), signal.SIGINT)

    assert (code, output) == (0, "SIGINT\n")


def test_handlers_are_restored():
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]

    with signals.StopRequest():
        assert signal.getsignal(signal.SIGTERM) is not before[0]

    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_time_limit_is_the_same_request():
    with signals.StopRequest(resume="go on", time_limit=0.05) as stop:
        assert not stop.requested
        time.sleep(0.5)

        assert stop.requested
        expected = pytest.raises(errors.Stopped, match="time limit of 0.05 s.*go on")
        with expected, stop.uninterruptible():
            raise AssertionError("the section must not be entered")


def test_an_error_of_another_thread_is_a_stop_request_and_is_raised_at_the_end():
    with signals.StopRequest() as stop:
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()

        assert stop.requested
        assert isinstance(stop.stopped(), ZeroDivisionError)
        with pytest.raises(ZeroDivisionError), stop.uninterruptible():
            raise AssertionError("the section must not be entered")


FAILING = """
with signals.StopRequest() as stop:
    with stop.uninterruptible():
        print("ready", flush=True)
        threading.Thread(target=lambda: 1 / 0).start()
        time.sleep(30)
"""


def test_an_error_of_another_thread_ends_an_uninterruptible_section_with_1():
    process = start(FAILING)

    _, output = process.communicate(timeout=20)

    assert process.returncode == 1
    assert output.startswith("stopped early (ZeroDivisionError in a thread: division by zero)")
    assert output.count("\n") == 1


def test_outside_the_main_thread_handlers_stay():
    before, states = signal.getsignal(signal.SIGTERM), []

    def enter():
        with signals.StopRequest() as stop:
            states.append((signal.getsignal(signal.SIGTERM), stop.requested))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()

    assert states == [(before, False)]


def test_a_time_limit_counts_from_when_the_command_began():
    began = time.monotonic() - 100

    with signals.StopRequest(time_limit=99.0, start=began) as stop:
        time.sleep(0.3)

        assert stop.requested


def test_a_time_limit_comes_earlier_by_the_longest_save():
    with signals.StopRequest(time_limit=60.0, start=time.monotonic() - 55) as stop:
        stop.reserve(20.0)
        stop.reserve(2.0)
        time.sleep(0.3)

        assert stop.requested
        assert stop.message() == (
            "stopped early (time limit of 60 s, 20 s early to save), everything is saved"
        )


def test_a_save_longer_than_the_time_limit_leaves_half_of_it():
    with signals.StopRequest(time_limit=1000.0) as stop:
        stop.reserve(1e6)
        time.sleep(0.05)
        assert not stop.requested


def test_a_time_limit_of_centuries_keeps_signals_working():
    with signals.StopRequest(time_limit=1e300) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)

        assert stop.reason == "SIGTERM"


BAR = """
from bertgrow.run import progress
stages = [{"name": "0", "start": 0, "end": 9, "flops_per_step": 1.0}]
with signals.StopRequest(resume="bertgrow " + "word " * 40) as stop:
    with progress.reporter(stages) as reporter, stop.calls_at_exit(reporter.close):
        reporter.phase("compiling", "0")
        with stop.uninterruptible():
            print("ready", flush=True)
            time.sleep(30)
"""


GONE = """
import signal
from bertgrow.core import output
from bertgrow.run import progress
signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.stdout, sys.stderr = map(output.Tolerant, (sys.stdout, sys.stderr))
stages = [{"name": "0", "start": 0, "end": 9, "flops_per_step": 1.0}]
with signals.StopRequest() as stop, progress.reporter(stages) as bar:
    print("ready", flush=True)
    while os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    for step in range(1, 9):
        time.sleep(0.1)
        bar.step(step, "0", {"loss": 1.0})
        bar.event("an event")
        bar.phase("saving", "0")
os.rename(sys.argv[2], sys.argv[3])
"""


def test_a_terminal_that_goes_away_does_not_stop_a_run(tmp_path):
    for name in ("open", "running"):
        (tmp_path / name).touch()
    master, terminal = pty.openpty()
    files = [str(tmp_path / name) for name in ("open", "running", "finished")]
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD + GONE, *files], stdout=terminal, stderr=terminal,
        env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(terminal)
    while b"ready" not in os.read(master, 4096):
        pass
    os.close(master)
    (tmp_path / "open").unlink()

    assert process.wait(timeout=30) == 0
    assert (tmp_path / "finished").exists()


def test_a_stop_on_a_terminal_leaves_a_cursor_no_bar_and_a_command_in_one_line():
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD + BAR], stdout=terminal, stderr=terminal,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    while b"ready" not in shown:
        shown += os.read(master, 4096)
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(OSError):  # Linux says so at the end of a terminal
        while part := os.read(master, 4096):
            shown += part
    process.wait()

    before, after = shown.decode().rsplit("\x1b[?25l", 1)  # where the cursor was hidden
    assert process.returncode == 75
    assert "stage 1/1  compiling" in before + after
    last = after.rsplit("\x1b[?25h", 1)[1]
    assert last.strip().endswith("continue with: bertgrow " + "word " * 39 + "word")
    assert len(last.strip().splitlines()) == 1
