"""Which checkpoints stay, and how much disk they need."""

import bisect
import math
import os
import shutil

import jax

from bertgrow import errors


def retained(steps, stage_ends, keep):
    """The steps to keep: the last `keep`, and the last one of each stage.

    Decided from the plan alone: metrics are not there after a restart, and a rule that reads
    them deletes whole stages then.

    Args:
      steps: steps of the checkpoints there are.
      stage_ends: the run's step at which each stage ends; a checkpoint at an end belongs to
        the stage that ends.
      keep: int, at least 1.
    """
    steps, ends = sorted(steps), sorted(stage_ends)
    last_of_stage = {bisect.bisect_left(ends, step): step for step in steps}
    return set(steps[-keep:]) | set(last_of_stage.values())


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


def check_disk(path, needed):
    """An InputError when the disk of `path` has not room for `needed` bytes.

    What checkpoints of the same run already take counts as room. Buckets are not checked.
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
            f"checkpoints need {needed / 1e9:.2f} GB and {folder} has {free / 1e9:.2f} GB: "
            "free some disk, choose another --workdir or keep fewer checkpoints"
        )


def _taken(path):
    found = 0
    for folder, _, names in os.walk(path):
        found += sum(os.path.getsize(os.path.join(folder, name)) for name in names)
    return found
