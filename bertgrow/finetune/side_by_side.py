"""Runs of a search at the same time, one a device."""

import queue
import threading
from concurrent import futures
from typing import Any, NamedTuple

from bertgrow.core import signals


class Place(NamedTuple):
    """Where one of several runs trains."""

    device: Any  # `jax.Device`
    stop: signals.OfThread


def run(functions, devices, stop):
    """Calls functions of a `Place` in threads, and returns when all have ended.

    After an error or a stop no further function is called; those that have begun go on to their
    end, and the error is raised.

    Args:
      functions: list; each trains one run.
      devices: list of `jax.Device`; each has one run at a time.
      stop: entered `StopRequest`.
    """
    free, has_failed = queue.SimpleQueue(), threading.Event()
    for device in devices:
        free.put(device)

    def call(function):
        device = free.get()
        try:
            if not has_failed.is_set():
                function(Place(device, signals.OfThread(stop)))
        except BaseException:
            has_failed.set()
            raise
        finally:
            free.put(device)

    with futures.ThreadPoolExecutor(len(devices)) as pool:
        calls = [pool.submit(call, function) for function in functions]
    for each in calls:
        each.result()
