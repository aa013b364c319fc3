"""The disk: how much a run needs, who else writes, and when it is to blame."""

import errno
import fcntl
import math
import os
import shutil
import time

import jax

from bertgrow.core import errors

SIGNS = ("No space left", "File too large", "quota", "Permission denied", "Read-only")
CHECKPOINTS = "free some disk, choose another --workdir or keep fewer checkpoints"


def state_bytes(shapes):
    """Bytes of one state on disk, before compression (random weights hardly compress)."""

    def size(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return 16 * math.prod(leaf.shape)
        return leaf.dtype.itemsize * math.prod(leaf.shape)

    return sum(size(leaf) for leaf in jax.tree.leaves(shapes))


def bytes_needed(stages, keep):
    """Most bytes that a run's checkpoints ever take.

    Args:
      stages: one TrainState (arrays or shapes) for each stage, in order.
      keep: as in `retained`.

    Returns:
      int: one checkpoint of every earlier stage, the last `keep`, and the one being written,
      which is complete before an older one is removed.
    """
    sizes = [state_bytes(shapes) for shapes in stages]
    return max(sum(sizes[:now]) + (keep + 1) * sizes[now] for now in range(len(sizes)))


def check_disk(path, needed, *, what="checkpoints", hint=CHECKPOINTS):
    """An InputError when the disk of `path` has not room for `needed` bytes.

    What the folder itself already takes counts as room. Buckets are not checked.

    Args:
      path: of the folder, which may not be there yet.
      needed: bytes of the whole folder.
      what: is to be written, in words.
      hint: what to change.
    """
    if "://" in str(path):
        return
    path = os.path.abspath(path)
    folder = path
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    free = shutil.disk_usage(folder).free + _taken(path)
    if free < needed:
        raise errors.InputError(
            f"{what} need {needed / 1e9:,.2f} GB and {folder} has {free / 1e9:,.2f} GB: {hint}"
        )


def remove(folder, tries=20):
    """Removes what a lost save left, though a thread of it may still put a file there."""
    for left in reversed(range(tries)):
        try:
            return folder.rmtree()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not left:
                raise
            time.sleep(0.1)


def _taken(path):
    found = 0
    for folder, _, names in os.walk(path):
        found += sum(os.path.getsize(os.path.join(folder, name)) for name in names)
    return found


def lock(folder, *, option="--workdir"):
    """Makes this process the only one that writes in a folder; the kernel forgets the dead.

    Args:
      folder: that exists.
      option: by which the user has named it.

    Returns:
      A file descriptor; closing it gives the folder free. None where locks do not exist.
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
    except OSError:  # some network disks know no locks
        os.close(handle)
        return None
    return handle


def blame(error, path, doing):
    """Raises an InputError when the disk is the cause of an error."""
    if isinstance(error, errors.InputError):
        raise error
    cause = error
    while cause is not None:
        if isinstance(cause, OSError) or any(word in str(cause) for word in SIGNS):
            line = str(cause).strip().splitlines()[0][:300]
            raise errors.InputError(
                f"cannot {doing} checkpoints in {path}: {line}; free some disk, or choose "
                "another --workdir"
            ) from error
        cause = cause.__cause__ or cause.__context__
