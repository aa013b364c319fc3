"""Runs `bertgrow` in child processes and compares their results."""

import subprocess
import sys
import time
from pathlib import Path

from bertgrow.train import metrics

ROOT = Path(__file__).resolve().parents[1]


def launcher(command, recipe, *, store, program=("-m", "bertgrow")):
    """A function `start(workdir, *extra) -> Popen` for a command on a recipe.

    What it says is added to WORKDIR.log. The number of threads and the compilation cache are
    those of the session.

    Args:
      command: "pretrain" or "distill".
      recipe: FILE:VARIANT.
      store: opened.
      program: what Python runs; it takes the arguments of `bertgrow`.
    """

    def start(workdir, *extra):
        words = [sys.executable, *program, command, "--config", recipe]
        words += [f"--config.data.store={store.folder}", "--workdir", str(workdir), *extra]
        with open(f"{workdir}.log", "a") as log:
            return subprocess.Popen(words, stdout=log, stderr=log, cwd=ROOT)

    return start


def run_undisturbed(start, folder):
    """The metrics of a run that nobody disturbs, and the seconds it takes once compiled."""
    assert start(folder / "cold").wait() == 0, said(folder / "cold")
    began = time.monotonic()
    assert start(folder / "warm").wait() == 0, said(folder / "warm")
    seconds = time.monotonic() - began
    runs = [metrics.read(folder / name / "metrics.jsonl") for name in ("cold", "warm")]
    assert metrics.differences(*runs) == []
    return runs[0], seconds


def finish_and_compare(start, workdir, expected):
    """Lets a run go on to its end; what differs from the expected metrics, in words."""
    assert start(workdir).wait() == 0, said(workdir)
    return metrics.differences(expected, metrics.read(workdir / "metrics.jsonl"))


def wait_for(condition, process, seconds=120):
    """Until the condition holds, the process has ended, or time is up."""
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.001)


def said(workdir):
    return Path(f"{workdir}.log").read_text()
