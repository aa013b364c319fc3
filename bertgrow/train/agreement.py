"""Agreement of several processes on the step at which they stop."""

import time

import jax
import numpy as np
from jax.experimental import multihost_utils

BOUND = 5.0  # seconds (or one step if longer) until all processes get a request


class Agreement:
    """Stops all processes at the same step, within `BOUND` seconds of the first request.

    Processes exchange their requests only at some steps, because the exchange waits until the
    devices have finished all earlier steps. The interval between two exchanges is computed
    from the step time of process 0, which is sent with the requests, so it is equal in all
    processes. A single process exchanges nothing and does not wait.

    Args:
      processes: number of processes; by default `jax.process_count()`.
      gather: function (float64 [2] of this process) -> float64 [processes, 2].
      clock: function that returns the time in seconds.
    """

    def __init__(self, processes=None, *, gather=None, clock=time.monotonic):
        self.processes = processes or jax.process_count()
        self._gather = gather or multihost_utils.process_allgather
        self._clock = clock
        self.begin(0)

    def begin(self, step):
        """Schedules an exchange after the next step: each stage has its own step time."""
        self._last, self._next, self._last_time = step, step + 1, self._clock()

    def stops(self, step, requested, arrays=()):
        """Returns whether to stop after this step; the result is equal in all processes.

        Args:
          step: int, step of the run; call this method after every step.
          requested: whether this process has a stop request.
          arrays: arrays that the step computes; the step time is measured when they are ready.
        """
        if self.processes == 1:
            return requested
        if step < self._next:
            return False
        jax.block_until_ready(arrays)
        seconds = (self._clock() - self._last_time) / (step - self._last)
        requests = np.asarray(self._gather(np.array([requested, seconds])))
        # Half of the bound: steps may get slower.
        in_bound = int(BOUND / 2 / max(float(requests[0, 1]), 1e-6))
        # At most twice the measured number of steps: one step is a rough measurement.
        num_steps = max(1, min(in_bound, 2 * (step - self._last)))
        self.begin(step)
        self._next = step + num_steps
        return bool(requests[:, 0].any())
