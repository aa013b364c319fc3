"""Graceful stop on SIGTERM, SIGINT or a time limit, also during long C++ calls.

Python runs signal handlers only between two bytecodes of the main thread, so not during a
long compilation. But the C signal handler writes the signal number to a pipe at once, and a
thread reads that pipe. The thread sets `requested`, which the trainer checks at steps and
evaluations. In sections where everything is already saved, the thread ends the process.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time

from bertgrow.core import errors

STOPPED = 75  # exit code of a run that was stopped early, with everything saved
DAY = 86_400.0  # seconds
CLEAR_LINE, SHOW_CURSOR = "\r\x1b[2K", "\x1b[?25h"
TIME_LIMIT, THREAD_ERROR = -1, -2  # values of `StopRequest.code` that are no signals
WAKE = 255  # byte in the pipe that is no signal: the time limit has changed
ONE_REQUEST = 0.5  # seconds; supervisors often send a signal twice, which counts as one


class StopRequest:
    """Context manager that turns signals and a time limit into one stop request.

        with StopRequest(resume="bertgrow pretrain ...") as stop:
            with stop.uninterruptible(checkpoints.wait):
                step = loop.compile_step(...)
            for info in loop.steps(...):
                if stop.requested: ...  # save, then raise errors.Stopped

    A second signal ends the process at once. Python allows signal handlers in the main thread
    only; in other threads only the time limit works.

    Args:
      resume: command that continues the run, printed in the last line.
      time_limit: seconds after which to stop; None for no limit.
      start: `time.monotonic()` value from which the limit counts; by default the time of
        entering the context.
      signals: signals to handle, except those that the caller ignores, as `nohup` does; () in
        a notebook, where the interrupt button sends SIGINT.

    An exception in another thread is a stop request, too; see `stopped`.
    """

    def __init__(
        self, *, resume="", time_limit=None, start=None,
        signals=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    ):  # fmt: skip
        self.resume, self.reason = resume, None
        self.code = 0  # number of the signal; `TIME_LIMIT`, `THREAD_ERROR`; 0 without a request
        self._start = start
        self._exit_calls = []  # functions that restore the terminal
        self._signals = [n for n in signals if signal.getsignal(n) is not signal.SIG_IGN]
        self._error = None  # exception of another thread
        self._time_limit = time_limit
        self._margin = 0.0  # seconds, see `reserve`
        self._first_signal = None  # time, seconds
        self._section = None  # function to call before exit, inside an uninterruptible section
        self._lock = threading.Lock()

    @property
    def requested(self):
        return self.reason is not None

    def __enter__(self):
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._old_handlers = {}
        if self._signals and threading.current_thread() is threading.main_thread():
            self._old_handlers = {n: signal.signal(n, _ignore) for n in self._signals}
            self._old_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._old_hook, threading.excepthook = threading.excepthook, self._on_thread_error
        self._watcher = threading.Thread(target=self._watch, name="stop", daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_):
        threading.excepthook = self._old_hook
        if self._old_handlers:
            signal.set_wakeup_fd(self._old_fd)
            for number, handler in self._old_handlers.items():
                signal.signal(number, handler)
        os.write(self._write, b"\0")
        self._watcher.join()
        os.close(self._read)
        os.close(self._write)

    def reserve(self, seconds):
        """Brings the time limit forward, so that a last save of this length ends within it.

        The longest of all saves counts, and at most half of the limit.
        """
        if self._time_limit is not None:
            margin = min(seconds, self._time_limit / 2)
            if margin > self._margin:
                self._margin = margin
                os.write(self._write, bytes([WAKE]))

    @contextlib.contextmanager
    def uninterruptible(self, finish=lambda: None):
        """Marks a section in which everything is saved: a stop request ends the process there.

        Used for compilation, growth and data preparation, which may be long and cannot check
        `requested`.

        Args:
          finish: called before the exit, e.g. `Checkpoints.wait` for a save in progress.

        Raises:
          Stopped: the stop was requested before the section.
        """
        with self._lock:
            self._section = None if self.requested else finish
        if self._section is None:
            finish()
            raise self.stopped()
        try:
            yield
        finally:
            with self._lock:  # blocks while the watcher thread ends the process
                self._section = None

    @contextlib.contextmanager
    def calls_at_exit(self, function):
        """Calls `function`, e.g. to remove a progress bar, if another thread ends the process
        inside this context."""
        self._exit_calls.append(function)
        try:
            yield
        finally:
            self._exit_calls.remove(function)

    def stopped(self, reason=None):
        """Returns the exception to raise once all is saved: Stopped, or a thread's error.

        Args:
          reason: why the run stops, if it is the request of another process.
        """
        self.reason = self.reason or reason
        return self._error or errors.Stopped(self.message())

    def message(self):
        """Returns one line with the reason for the stop and the command that continues."""
        continues = f"; continue with: {self.resume}" if self.resume else ""
        return f"stopped early ({self.reason}), everything is saved{continues}"

    def _watch(self):
        start = time.monotonic() if self._start is None else self._start
        end = None if self._time_limit is None else start + self._time_limit
        while True:
            rest = None if end is None else max(0, end - self._margin - time.monotonic())
            wait = None if rest is None else min(rest, DAY)  # select rejects very long timeouts
            ready, _, _ = select.select([self._read], [], [], wait)
            if not ready and rest > DAY:
                continue
            if not ready:
                end = None
                self._request(self._limit_in_words(), TIME_LIMIT)
                continue
            for number in os.read(self._read, 64):
                if number == 0:
                    return
                if number in self._signals:
                    self._on_signal(signal.Signals(number))

    def _limit_in_words(self):
        early = f", {self._margin:.0f} s early to save" if self._margin >= 1 else ""
        return f"time limit of {self._time_limit:g} s{early}"

    def _on_thread_error(self, args):
        """`threading.excepthook`: no thread that others wait for ends without notice."""
        if args.exc_value is None or args.exc_type is SystemExit:
            return
        self._error = self._error or args.exc_value
        self._request(f"{args.exc_type.__name__} in a thread: {args.exc_value}", THREAD_ERROR)

    def _on_signal(self, number):
        now = time.monotonic()
        if self._first_signal is not None and now - self._first_signal > ONE_REQUEST:
            self._end_output(f"{number.name} again: leaving at once")
            os._exit(128 + number)
        self._first_signal = self._first_signal or now
        self._request(number.name, int(number))

    def _request(self, reason, code):
        if self.requested:
            return  # before taking the lock: `_leave` may hold it during a save
        with self._lock:
            self.reason, self.code = reason, code
            if self._section is not None:
                self._leave()

    def _leave(self):
        """Ends the process from the watcher thread; the main thread may be inside C++ code."""
        # A second signal can still end the process during a long wait for the save.
        threading.Thread(target=self._watch_second, daemon=True).start()
        try:
            self._section()
        except BaseException as error:  # noqa: BLE001 - the process ends here on any error
            message = f"stopped early, and the last save failed: {error}"
            code = 2 if isinstance(error, errors.InputError) else 1
        else:
            message, code = self.message(), 1 if self._error else STOPPED
        self._end_output(message)
        os._exit(code)

    def _end_output(self, message):
        """Restores the terminal and prints a last line.

        The exit functions run in a thread with a timeout, because the main thread may hold a
        lock of the terminal. The line goes to `sys.__stderr__`, because a progress bar replaces
        `sys.stderr` by a stream that breaks lines.
        """
        thread = threading.Thread(target=self._run_exit_calls, daemon=True)
        thread.start()
        thread.join(timeout=1.0)
        stream = sys.__stderr__ or sys.stderr
        if stream.isatty():
            stream.write(CLEAR_LINE + SHOW_CURSOR)
        print(message, file=stream, flush=True)

    def _run_exit_calls(self):
        for call in self._exit_calls:
            call()
        sys.stdout.flush()

    def _watch_second(self):
        while True:
            for number in os.read(self._read, 64):
                if number in self._signals:
                    self._on_signal(signal.Signals(number))


class OfThread:
    """A stop request as one of several threads sees it that train at the same time.

    No section ends the process, since the other threads may have something to save: each of
    them saves at its next step.
    """

    def __init__(self, stop):
        self._stop = stop
        self.calls_at_exit, self.stopped = stop.calls_at_exit, stop.stopped
        self.reserve = stop.reserve

    @property
    def code(self):
        return self._stop.code

    @contextlib.contextmanager
    def uninterruptible(self, finish=lambda: None):
        if self._stop.requested:
            finish()
            raise self.stopped()
        yield


def _ignore(*_):
    """Empty handler that replaces the default action; the wakeup pipe delivers the signal."""
