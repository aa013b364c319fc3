"""The drill: an undisturbed run, a run that is killed and restarted, and their difference."""

import math
import random
import re
import signal
import time
from typing import NamedTuple

from bertgrow.core.errors import EXIT_STOPPED, CheckFailed, InputError
from bertgrow.run import files
from bertgrow.run.drill.children import Children
from bertgrow.train import metrics

LIMIT = 30.0  # seconds in which all processes leave, apart from a save
PAUSE = 0.02  # seconds between two looks at the files of a run
EVERY_STEP = "--config.log_every=1"  # so that the drill sees each step
UNDISTURBED, KILLED = "undisturbed", "killed"  # folders of the runs
OPTIONS = ("--config", "--workdir", EVERY_STEP.partition("=")[0])


class Kill(NamedTuple):
    """One kill, and how the processes left."""

    signal: str
    target: str  # "all", or the number of a process
    seconds: float  # after the start
    phase: str  # what the run printed last: "starting", "compiling", "growing", "step 37" ...
    codes: list  # exit codes; None: still running after `LIMIT`
    left: float  # seconds until all had left

    @property
    def problem(self):
        """What is wrong with the exit codes, or ""."""
        if None in self.codes:
            return f"a process was still running after {LIMIT:.0f} s"
        early = self.phase == "starting"
        expected = {EXIT_STOPPED, 0} | ({-signal.SIGTERM} if early else set())
        expected |= {-signal.SIGKILL} if self.signal == "SIGKILL" else set()
        wrong = [code for code in self.codes if code not in expected]
        return f"exit code {wrong[0]}, expected {EXIT_STOPPED}" if wrong else ""


class Drill:
    """Two runs of one recipe: one undisturbed, one killed.

    Args:
      words: arguments of `bertgrow` without --workdir, e.g. ["pretrain", "--config", FILE].
      folder: for both runs and their logs.
      processes: number of processes of each run.
      seed: of the moments and the signals.
    """

    def __init__(self, words, folder, *, processes, seed):
        self._words, self._folder, self._processes = words, folder, processes
        self._random = random.Random(seed)
        self._startup = self._step = None  # seconds of an undisturbed start, and of a step

    def undisturbed(self):
        """Runs to the end."""
        with self._start(UNDISTURBED) as children:
            while children.are_running() and not self._rows(UNDISTURBED):
                time.sleep(PAUSE)
            self._startup = time.monotonic() - children.start
            self._finish(children)
            after = time.monotonic() - children.start - self._startup
        self._step = after / max(row["step"] for row in self._rows(UNDISTURBED))

    def kills(self, number, steps):
        """Starts a run again and again; yields a `Kill` for each start that was killed.

        Args:
          number: of kills.
          steps: of the whole run.
        """
        for index in range(number):
            with self._start(KILLED) as children:
                ahead = max(1, 2 * steps // (number + 1))
                self._wait(children, self._random.randint(1, ahead), is_early=index % 3 == 0)
                if not children.are_running():
                    return self._finish(children)
                yield self._kill(children)
        with self._start(KILLED) as children:
            self._finish(children)

    def differences(self):
        """Lists differences between the metrics of both runs, see `metrics.differences`."""
        return metrics.differences(self._rows(UNDISTURBED), self._rows(KILLED))

    def _start(self, name):
        words = [*self._words, EVERY_STEP, "--workdir", str(self._folder / name)]
        log = self._folder / f"{name}.log"
        return Children(words, processes=self._processes, log=log)

    def _wait(self, children, steps, *, is_early):
        """Waits for a random moment: before the first step, or around a later one."""
        end = children.start + self._random.uniform(0, self._startup) if is_early else math.inf
        begun, ahead = len(self._rows(KILLED)), 1 if is_early else steps
        while children.are_running() and time.monotonic() < end:
            if len(self._rows(KILLED)) >= begun + ahead:
                time.sleep(self._random.uniform(0, 2 * self._step))  # also between two steps
                break
            time.sleep(PAUSE)

    def _kill(self, children):
        number = self._random.choice((signal.SIGTERM, signal.SIGKILL))
        everyone = list(range(self._processes))
        which = self._random.choice([everyone, *([i] for i in everyone)])
        phase, moment = _phase(children.said()), time.monotonic()
        children.send(number, which)
        codes = children.leave(LIMIT)
        return Kill(
            signal=number.name,
            target="all" if which == everyone else str(which[0]),
            seconds=moment - children.start,
            phase=phase,
            codes=codes,
            left=time.monotonic() - moment,
        )

    def _finish(self, children):
        codes = children.leave(seconds=1e9)
        if any(codes):
            lines = children.said().strip().splitlines()
            raise CheckFailed(
                f"a run that nobody killed ended with exit code {max(codes, key=abs)}: "
                f"{lines[-1] if lines else 'it printed nothing'} ({children.log})"
            )

    def _rows(self, name):
        return metrics.read(self._folder / name / "metrics.jsonl", files.Row)


def check_words(words):
    """Raises InputError for overrides that the drill sets itself."""
    for word in words:
        name = word.partition("=")[0]
        if name in OPTIONS:
            raise InputError(f"{word}: drill sets {name} of both runs; leave it out")


def _phase(said):
    """What a run did when it printed its last line."""
    lines = [line for line in said.splitlines() if line.strip()]
    for line in reversed(lines):
        if match := re.match(r"(step \d+|restored step \d+)", line):
            return match[1]
        if match := re.search(r"  (compiling|growing)$", line):
            return match[1]
        if line.startswith("transition"):
            return "growing"
    return "starting"
