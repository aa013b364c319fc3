"""Agreement of several processes: decisions of the first, equal inputs, and when to stop.

Every process of a run calls these functions in the same order. A single process exchanges
nothing.
"""

import json
import signal
import time

import jax
import numpy as np
from jax.experimental import multihost_utils

from bertgrow.core import errors, signals

BOUND = 5.0  # seconds (or one step if longer) until all processes get a request
_is_inside = False  # whether the first process runs a function of `from_first`
SMALLEST = 1024  # bytes of a broadcast; larger ones have twice, four times ... as many
RAISED = {
    error.__name__: error for error in (errors.InputError, errors.CheckFailed, errors.Stopped)
}


def from_first(function):
    """Calls a function in the first process only, and returns its result in all.

    Used for decisions that depend on files or clocks, and for writing files. The others wait
    for the result. An exception is raised in all processes.

    Args:
      function: takes nothing; returns data that JSON can represent.
    """
    global _is_inside
    if jax.process_count() == 1 or _is_inside:
        return function()
    result, error = None, None
    if jax.process_index() == 0:
        _is_inside = True  # a call inside this one is the first process's alone
        try:
            result = function()
        except Exception as raised:
            error = raised
        finally:
            _is_inside = False
    reply = dict(result=result)
    if error is not None:
        reply = dict(error=type(error).__name__, message=str(error))
    reply = json.loads(_broadcast(json.dumps(reply).encode()))
    if error is not None:
        raise error
    if "error" in reply:
        raise RAISED.get(reply["error"], errors.InputError)(reply["message"])
    return reply["result"]


def check_equal(values):
    """Raises InputError in all processes if a value of one differs from that of the first.

    Args:
      values: {description: text}, e.g. {"recipe": hash}, with equal keys in all processes.
    """
    if jax.process_count() == 1:
        return
    texts = [text.encode()[:SMALLEST].ljust(SMALLEST) for text in values.values()]
    table = np.frombuffer(b"".join(texts), np.uint8).reshape(len(texts), SMALLEST)
    for name, column in zip(values, _gather(table).swapaxes(0, 1), strict=True):
        for process, text in enumerate(column):
            if not np.array_equal(text, column[0]):
                first, other = (each.tobytes().decode().rstrip() for each in (column[0], text))
                raise errors.InputError(
                    f"{name} is {first} in process 0 and {other} in process {process}: give "
                    "all processes the same"
                )


def in_all(value):
    """Returns the values of all processes, a list of booleans."""
    if jax.process_count() == 1:
        return [value]
    return _gather(np.int32(value)).astype(bool).tolist()


def wait_for_all():
    """Returns once every process has called it."""
    from_first(lambda: None)


class Agreement:
    """Stops all processes at the same step, within `BOUND` seconds of the first request.

    Processes exchange their requests only at some steps, because the exchange waits until the
    devices have finished all earlier steps. The interval between two exchanges is computed
    from the step time of process 0, which is sent with the requests, so it is equal in all
    processes. A single process exchanges nothing and does not wait.

    Args:
      processes: number of processes; by default `jax.process_count()`.
      gather: function (float32 [2] of this process) -> float32 [processes, 2].
      clock: function that returns the time in seconds.
    """

    def __init__(self, processes=None, *, gather=None, clock=time.monotonic):
        self.processes = processes or jax.process_count()
        self.reason = None  # why all stop, e.g. "SIGTERM in process 1"
        self._gather = gather or _gather
        self._clock = clock
        self.begin(0)

    def begin(self, step):
        """Schedules an exchange after the next step: each stage has its own step time."""
        self._last, self._next, self._last_time = step, step + 1, self._clock()

    def stops(self, step, requested, arrays=()):
        """Returns whether to stop after this step; the result is equal in all processes.

        Args:
          step: int, step of the run or number of a batch; call this method after every one.
          requested: `StopRequest.code` of this process; 0 without a request.
          arrays: arrays that the step computes; the step time is measured when they are ready.
        """
        if self.processes == 1:
            return bool(requested)
        if step < self._next:
            return False
        jax.block_until_ready(arrays)
        seconds = (self._clock() - self._last_time) / (step - self._last)
        requests = np.asarray(self._gather(np.array([requested, seconds], np.float32)))
        # Half of the bound: steps may get slower.
        in_bound = int(BOUND / 2 / max(float(requests[0, 1]), 1e-6))
        # At most twice the measured number of steps: one step is a rough measurement.
        num_steps = max(1, min(in_bound, 2 * (step - self._last)))
        self.begin(step)
        self._next = step + num_steps
        stopped = np.flatnonzero(requests[:, 0])
        if len(stopped):
            self.reason = _reason(int(requests[stopped[0], 0]), int(stopped[0]))
        return bool(len(stopped))


def _reason(code, process):
    """Text for a `StopRequest.code` of a process."""
    others = {signals.TIME_LIMIT: "the time limit", signals.THREAD_ERROR: "an error"}
    return f"{others.get(code) or signal.Signals(code).name} in process {process}"


def _gather(array):
    """Array of this process -> arrays of all processes, stacked."""
    return multihost_utils.process_allgather(array)


def _broadcast(data):
    """Bytes of the first process, in all processes."""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    block = np.zeros(max(SMALLEST, 1 << (size - 1).bit_length()), np.uint8)
    if jax.process_index() == 0:
        block[:size] = np.frombuffer(data, np.uint8)
    return multihost_utils.broadcast_one_to_all(block)[:size].tobytes()
