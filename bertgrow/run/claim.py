"""Claims a working directory for one run: a lock, traces of an earlier run, a new beginning."""

import contextlib
import os
import time
from pathlib import Path

import jax
from jax.experimental import multihost_utils

from bertgrow.core.errors import InputError
from bertgrow.train.checkpoints import disk

# In the order in which they are moved: the rest of an interrupted move is no run without
# config.json, and no other run overwrites it.
FILES = (
    "config.json", "metrics.jsonl", "growth", "checkpoints", "tensorboard", "profile",
    "vocab.txt", "vocab.model", "results.json", "predictions", "MODEL_CARD.md",
)  # fmt: skip


@contextlib.contextmanager
def claim(path, *, restart=False):
    """Creates a working directory and locks it until the end of the context.

    Args:
      path: working directory.
      restart: whether to move the files of an earlier run into the folder `aside-TIME` of the
        working directory.

    Raises:
      InputError: the directory cannot be used, or another process writes there.
    """
    path, handle = Path(path), None
    try:
        if jax.process_index() == 0:
            path.mkdir(parents=True, exist_ok=True)
            handle = disk.lock(path)
            if restart:
                _move_aside(path)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("the working directory is claimed")
    except OSError as error:
        raise InputError(f"--workdir {path} cannot be used: {error}") from error
    try:
        yield path
    finally:
        if handle is not None:
            os.close(handle)


def _move_aside(path):
    present = [path / name for name in FILES if (path / name).exists()]
    if not present:
        return
    aside = path / time.strftime("aside-%Y%m%d-%H%M%S")
    aside.mkdir()
    for file in present:
        file.rename(aside / file.name)
    print(f"moved the files of the earlier run to {aside}", flush=True)
