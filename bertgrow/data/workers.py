"""Pool of spawned worker processes with a bounded queue; workers end with their parent."""

import collections
import concurrent.futures
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys


def cores():
    """Returns the number of CPU cores available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def die_with_parent(parent):
    """On Linux, kills this process when its parent ends for any reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # the parent ended before the call
            os._exit(1)


@contextlib.contextmanager
def pool(number):
    """Yields `run(function, items)`, an iterator of results in the order of the items.

    One worker means no extra process: the functions run in this process. At most
    `number + 2` items are in flight, so a long stream of items needs little memory.
    """
    if number <= 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")  # fork is unsafe: JAX uses threads
    # A process that tracks semaphores warns when a signal ends this one; it takes this option.
    sys.warnoptions.append("ignore:resource_tracker")
    executor = concurrent.futures.ProcessPoolExecutor(
        number, context, initializer=_begin, initargs=(os.getpid(),)
    )

    def run(function, items):
        waiting = collections.deque()
        for item in items:
            with _signals_blocked():  # it may start a worker, which inherits the mask
                waiting.append(executor.submit(function, item))
            if len(waiting) >= number + 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield run
    finally:
        executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _signals_blocked():
    """Blocks the signals that end a process: workers leave them to their parent.

    A terminal or a job scheduler sends them to all processes of a group.
    """
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _begin(parent):
    die_with_parent(parent)
    # There is one worker per core, so extra threads in a worker would only compete.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
