"""Traces a window of training steps with JAX's profiler."""

import re
from typing import NamedTuple

import jax

from bertgrow.core.errors import InputError


class Window(NamedTuple):
    """Steps of the run, both included; the first step of a run is 1."""

    first: int
    last: int


def window(text):
    """`50:60` as a `Window`. Raises InputError for anything else."""
    match = re.fullmatch(r"(\d{1,18}):(\d{1,18})", text, re.ASCII)
    found = Window(*map(int, match.groups())) if match else None
    if found is None or not 1 <= found.first <= found.last:
        raise InputError(
            f"--profile {text!r}; expected FIRST:LAST, two steps of the run from 1 on, the "
            "first not above the last, e.g. --profile 50:60"
        )
    return found


def check(window, end):
    """InputError where a window begins after the last step of the run."""
    if window and window.first > end:
        raise InputError(
            f"--profile {window.first}:{window.last} begins after the last step of the run, "
            f"{end}; give earlier steps"
        )


class Trace:
    """Writes a trace of the steps in a window, while it is entered.

    A window that is still open when it is left ends there. The devices are waited for at both
    ends of the window, so that the trace holds whole steps.

    Args:
      window: Window; None for no trace.
      folder: where the trace goes.
      report: function (text), called with the path of the trace.
    """

    def __init__(self, window, folder, report):
        self._window, self._folder, self._report = window, folder, report
        self._first = self._last = None  # of the steps traced so far

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
        """To be called with the last step sent, before the next one is.

        Args:
          step: int; before the first step of a stage, the one before it.
          arrays: of that step, on the devices.
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
        path = max((self._folder / "plugins" / "profile").iterdir())  # named by the time
        self._report(f"trace of steps {self._first} to {self._last}: {path}")
