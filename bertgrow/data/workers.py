"""Worker processes that are spawned, die with their parent, and hold a bounded queue."""

import collections
import concurrent.futures
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys


def cores():
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def die_with_parent(parent):
    """Asks Linux to kill this process when its parent ends, however the parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it ended before we asked
            os._exit(1)


@contextlib.contextmanager
def pool(number):
    """Yields `run(function, items)`, an iterator of results in the order of the items.

    With one worker all happens in this process. At most two items more than there are
    workers are under way, so that a long stream of items needs little memory.
    """
    if number <= 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")  # never fork: JAX has threads
    executor = concurrent.futures.ProcessPoolExecutor(
        number, context, initializer=_begin, initargs=(os.getpid(),)
    )

    def run(function, items):
        waiting = collections.deque()
        for item in items:
            waiting.append(executor.submit(function, item))
            if len(waiting) >= number + 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield run
    finally:
        executor.shutdown(cancel_futures=True)


def _begin(parent):
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    # One worker a core: threads inside a worker would only get in each other's way.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
