"""Traces a window of training steps with JAX's profiler."""

import re
from typing import NamedTuple

import jax

from bertgrow.core.errors import InputError


class Window(NamedTuple):
    """Range of steps, both ends included; the first step of a run is 1."""

    first: int
    last: int


def window(text):
    """Parses `50:60` into a `Window`. Raises InputError for any other form."""
    match = re.fullmatch(r"(\d{1,18}):(\d{1,18})", text, re.ASCII)
    parsed = Window(*map(int, match.groups())) if match else None
    if parsed is None or not 1 <= parsed.first <= parsed.last:
        raise InputError(
            f"--profile {text!r}; expected FIRST:LAST, two steps of the run from 1 on, the "
            "first not above the last, e.g. --profile 50:60"
        )
    return parsed


def check(window, end):
    """Raises InputError if a window begins after the last step of the run."""
    if window and window.first > end:
        raise InputError(
            f"--profile {window.first}:{window.last} begins after the last step of the run, "
            f"{end}; give earlier steps"
        )


class Trace:
    """Context manager that writes a profiler trace of the steps in a window.

    If the window is still open on exit, the trace ends there. Both ends of the window wait for
    the devices, so that the trace contains whole steps.

    Args:
      window: `Window`; None disables the trace.
      folder: output folder of the trace.
      report: function (text), called with the path of the trace.
    """

    def __init__(self, window, folder, report):
        self._window, self._folder, self._report = window, folder, report
        self._first = self._last = None  # steps traced so far

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._window is None:
            return
        if self._first is not None:
            self._stop()
        else:
            first, last = self._window
            self._report(f"no trace: none of the steps {first} to {last} was trained")

    def after(self, step, arrays=()):
        """Starts or ends the trace; call it after each dispatched step, before the next one.

        Args:
          step: int, the last dispatched step; the start step when a stage begins.
          arrays: outputs of that step on the devices, to wait for.
        """
        if self._window is None:
            return
        if self._first is not None:
            self._last = step
        if self._first is not None and step >= self._window.last:
            jax.block_until_ready(arrays)
            self._stop()
        elif self._first is None and self._window.first <= step + 1 <= self._window.last:
            jax.block_until_ready(arrays)
            jax.profiler.start_trace(self._folder)
            self._first, self._last = step + 1, step

    def _stop(self):
        jax.profiler.stop_trace()
        self._window = None
        path = max((self._folder / "plugins" / "profile").iterdir())  # timestamps
        self._report(f"trace of steps {self._first} to {self._last}: {path}")
