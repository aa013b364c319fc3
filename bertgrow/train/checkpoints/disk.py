"""Disk-space checks, folder locks and storage errors."""

import errno
import fcntl
import math
import os
import shutil
import time

import jax

from bertgrow.core import errors, system_files, units

CHECKPOINTS = "free some disk, choose another --workdir or keep fewer checkpoints"


def state_bytes(shapes):
    """Bytes of one state on disk without compression (random weights hardly compress)."""

    def size(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return 16 * math.prod(leaf.shape)
        return leaf.dtype.itemsize * math.prod(leaf.shape)

    return sum(size(leaf) for leaf in jax.tree.leaves(shapes))


def bytes_needed(stages, keep):
    """Computes the peak disk use of the checkpoints of a run.

    Args:
      stages: one TrainState (arrays or shapes) for each stage, in order.
      keep: as in `checkpoint.retained`.

    Returns:
      int, bytes of one checkpoint of every earlier stage, of the last `keep`, and of the one
      being written, because it is completed before an older one is removed.
    """
    sizes = [state_bytes(shapes) for shapes in stages]
    return max(sum(sizes[:i]) + (keep + 1) * size for i, size in enumerate(sizes))


def check_disk(path, needed, *, what="checkpoints", hint=CHECKPOINTS):
    """Raises an InputError if the disk of `path` has less space than `needed` bytes.

    The space that the folder already uses counts as free. Buckets are not checked.

    Args:
      path: path of the folder, which need not exist yet.
      needed: final size of the folder in bytes.
      what: name of the data to write, for the error message.
      hint: advice for the error message.
    """
    if "://" in str(path):
        return
    path = os.path.abspath(path)
    folder = path
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    free = shutil.disk_usage(folder).free + _bytes_used(path)
    if free < needed:
        raise errors.InputError(
            f"{what} need {units.si(needed, 'B')} and {folder} has {units.si(free, 'B')}: "
            f"{hint}"
        )


def remove(folder, tries=20):
    """Removes the folder of a failed save; retries, as its threads may still write files."""
    for tries_left in reversed(range(tries)):
        try:
            return folder.rmtree()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT) or not tries_left:
                raise
            if not folder.exists():
                return None
            time.sleep(0.1)


def _system_reason(error):
    """Reason of the operating system for an error, also if a library gives it as text only."""
    known = system_files.error_of(str(error), "")
    if known.errno != errno.EIO:
        return known.strerror
    return (error.strerror or str(error)) if isinstance(error, OSError) else None


def _free(path):
    try:
        return units.si(shutil.disk_usage(path).free, "B")
    except OSError:
        return "an unknown number of bytes"


def _bytes_used(path):
    total = 0
    for folder, _, names in os.walk(path):
        total += sum(os.path.getsize(os.path.join(folder, name)) for name in names)
    return total


def lock(folder, *, option="--workdir"):
    """Locks a folder for writing by this process; the kernel releases it when the process ends.

    Args:
      folder: path of an existing folder.
      option: command-line option of the folder, for the error message.

    Returns:
      A file descriptor; closing it releases the lock. None if locks are not supported.

    Raises:
      InputError: another process holds the lock.
    """
    if "://" in str(folder):
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise errors.InputError(
            f"another run writes in {folder}: wait for it, stop it or choose another {option}"
        ) from error
    except OSError:  # some network file systems do not support locks
        os.close(handle)
        return None
    return handle


def raise_if_storage(error, path, action):
    """Raises an InputError if a storage error is in the chain of causes of `error`."""
    if isinstance(error, errors.InputError):
        raise error
    cause = error
    while cause is not None:
        if reason := _system_reason(cause):
            raise errors.InputError(
                f"cannot {action} checkpoints in {path}: {reason}; the disk has {_free(path)} "
                "free: free some disk, or choose another --workdir"
            ) from error
        cause = cause.__cause__ or cause.__context__
