"""Being asked to stop: SIGTERM, SIGINT or a time limit, seen wherever the program is.

Python runs a signal handler only between two bytecodes of the main thread, so not during a
long compilation. The number of a signal is written to a pipe by C at once; a thread waits at
its other end. It sets `requested`, which the story checks at steps and evaluations, and in
sections where everything is saved already it ends the process itself.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time

import jax
import numpy as np
from jax.experimental import multihost_utils

from bertgrow.core import errors

STOPPED = 75  # exit code: everything is saved, the run was stopped early
BOUND = 5.0  # seconds, or one step where that takes longer, until all processes know
DAY = 86_400.0  # seconds
CLEAR_LINE, SHOW_CURSOR = "\r\x1b[2K", "\x1b[?25h"
ONE_REQUEST = 0.5  # seconds; supervisors often send the same signal twice


class StopRequest:
    """Turns signals and a time limit into one request, while it is entered.

        with StopRequest(resume="bertgrow pretrain ...") as stop:
            with stop.uninterruptible(checkpoints.wait):
                step = loop.compile_step(...)
            for info in loop.steps(...):
                if stop.requested: ...  # save, then raise errors.Stopped

    A second signal ends the process at once. Outside the main thread, where Python allows no
    handlers, only the time limit works.

    Args:
      resume: command that continues the run, for the last line printed.
      time_limit: seconds after which to stop; None for no limit.
      start: `time.monotonic()` from which the limit counts; now when not given.
      signals: which to take; () in a notebook, whose interrupt button is a SIGINT.
    """

    def __init__(
        self, *, resume="", time_limit=None, start=None,
        signals=(signal.SIGTERM, signal.SIGINT),
    ):  # fmt: skip
        self.resume, self.reason = resume, None
        self._start = start
        self._exits = []  # functions that put the terminal in order
        self._signals = signals
        self._limit = time_limit
        self._first = None  # when the first signal came
        self._section = None  # what to call before leaving, where nothing can be lost
        self._lock = threading.Lock()

    @property
    def requested(self):
        return self.reason is not None

    def __enter__(self):
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, _pass) for each in self._signals}
            self._fd_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._watcher = threading.Thread(target=self._watch, name="stop", daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_):
        if self._before:
            signal.set_wakeup_fd(self._fd_before)
            for each, handler in self._before.items():
                signal.signal(each, handler)
        os.write(self._write, b"\0")
        self._watcher.join()
        os.close(self._read)
        os.close(self._write)

    @contextlib.contextmanager
    def uninterruptible(self, finish=lambda: None):
        """Marks a section in which everything is saved: a request there ends the process.

        For compilation, growth and preparation of data, which may be long and deaf.

        Args:
          finish: called before leaving, e.g. `Checkpoints.wait` for a save in flight.
        """
        with self._lock:
            self._section = None if self.requested else finish
        if self._section is None:
            finish()
            raise errors.Stopped(self.message())
        try:
            yield
        finally:
            with self._lock:  # not given back when the watcher is about to end the process
                self._section = None

    @contextlib.contextmanager
    def calls_at_exit(self, function):
        """Calls a function, such as the one that removes a progress bar, if the process ends
        in another thread in the meantime."""
        self._exits.append(function)
        try:
            yield
        finally:
            self._exits.remove(function)

    def message(self):
        """One line: why the run stops, and the command that continues."""
        continues = f"; continue with: {self.resume}" if self.resume else ""
        return f"stopped early ({self.reason}), everything is saved{continues}"

    def _watch(self):
        start = time.monotonic() if self._start is None else self._start
        end = None if self._limit is None else start + self._limit
        while True:
            left = None if end is None else max(0, end - time.monotonic())
            wait = None if left is None else min(left, DAY)  # select refuses long waits
            ready, _, _ = select.select([self._read], [], [], wait)
            if not ready and left > DAY:
                continue
            if not ready:
                end = None
                self._request(f"time limit of {self._limit:g} s")
                continue
            for number in os.read(self._read, 64):
                if number == 0:
                    return
                if number in self._signals:
                    self._on_signal(signal.Signals(number))

    def _on_signal(self, each):
        now = time.monotonic()
        if self._first is not None and now - self._first > ONE_REQUEST:
            self._end_output(f"{each.name} again: leaving at once")
            os._exit(128 + each)
        self._first = self._first or now
        self._request(each.name)

    def _request(self, reason):
        if self.requested:
            return  # without the lock, which `_leave` may hold while a save is finished
        with self._lock:
            self.reason = reason
            if self._section is not None:
                self._leave()

    def _leave(self):
        """Ends the process from the watcher's thread; the main thread may be deep in C++."""
        # A signal during a long wait for the save must still be able to end it.
        threading.Thread(target=self._watch_again, daemon=True).start()
        try:
            self._section()
        except BaseException as error:  # noqa: BLE001 - the process ends here, whatever it is
            message = f"stopped early, and the last save failed: {error}"
            code = 2 if isinstance(error, errors.InputError) else 1
        else:
            message, code = self.message(), STOPPED
        self._end_output(message)
        os._exit(code)

    def _end_output(self, message):
        """Puts the terminal in order and prints a last line.

        In a thread with a deadline: the main thread may hold a lock of the terminal. To the
        stream itself: a progress bar replaces `sys.stderr` by one that breaks lines.
        """
        ending = threading.Thread(target=self._call_exits, daemon=True)
        ending.start()
        ending.join(timeout=1.0)
        stream = sys.__stderr__ or sys.stderr
        if stream.isatty():
            stream.write(CLEAR_LINE + SHOW_CURSOR)
        print(message, file=stream, flush=True)

    def _call_exits(self):
        for call in self._exits:
            call()
        sys.stdout.flush()

    def _watch_again(self):
        while True:
            for number in os.read(self._read, 64):
                if number in self._signals:
                    self._on_signal(signal.Signals(number))


class Agreement:
    """Stops all processes at the same step, within `BOUND` seconds of the first request.

    Processes compare their requests only at some steps, since that waits until the devices
    have worked off all steps so far. How many steps lie between two such steps follows from
    the seconds a step takes in process 0, which travel with the requests: so all processes
    know the next one. One process alone compares nothing and never waits.

    Args:
      processes: how many there are.
      gather: function (float64 [2] of this process) -> float64 [processes, 2].
      clock: seconds.
    """

    def __init__(self, processes=None, *, gather=None, clock=time.monotonic):
        self.processes = processes or jax.process_count()
        self._gather = gather or multihost_utils.process_allgather
        self._clock = clock
        self.begin(0)

    def begin(self, step):
        """Compares again after the next step: those of another stage take another time."""
        self._last, self._next, self._mark = step, step + 1, self._clock()

    def stops(self, step, requested, arrays=()):
        """Whether to stop after this step, the same answer in every process.

        Args:
          step: int, of the run; to be asked after every step.
          requested: whether this process was asked to stop.
          arrays: of that step, on the devices; its time is not over before they are there.
        """
        if self.processes == 1:
            return requested
        if step < self._next:
            return False
        jax.block_until_ready(arrays)
        seconds = (self._clock() - self._mark) / (step - self._last)
        rows = np.asarray(self._gather(np.array([requested, seconds])))
        wanted = int(BOUND / 2 / max(float(rows[0, 1]), 1e-6))  # half: steps may get slower
        # At most twice as many as were measured: one step alone tells little.
        count = max(1, min(wanted, 2 * (step - self._last)))
        self.begin(step)
        self._next = step + count
        return bool(rows[:, 0].any())


def _pass(*_):
    """Its presence alone keeps the default action away; the pipe carries the news."""
