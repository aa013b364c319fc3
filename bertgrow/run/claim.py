"""Claims a working directory for one run: a lock, traces of an earlier run, a new beginning."""

import contextlib
import os
import secrets
import time
from pathlib import Path

import jax

from bertgrow.core.errors import InputError
from bertgrow.train import agreement
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
    path, handles = Path(path), []

    def begin():
        try:
            path.mkdir(parents=True, exist_ok=True)
            handles.append(disk.lock(path))
            if restart:
                _move_aside(path)
        except OSError as error:
            raise InputError(f"--workdir {path} cannot be used: {error}") from error

    try:
        agreement.from_first(begin)
        _check_shared(path)
        yield path
    finally:
        for handle in handles:
            if handle is not None:
                os.close(handle)


def _check_shared(path):
    """Raises InputError if the processes have different folders under the same path.

    Each process writes its part of a checkpoint, so the folder must be one for all of them.
    """
    if jax.process_count() == 1:
        return
    mark = path / agreement.from_first(lambda: f".shared-{secrets.token_hex(8)}")
    agreement.from_first(lambda: mark.write_text("") and None)
    is_shared = agreement.in_all(mark.exists())
    agreement.from_first(mark.unlink)
    missing = [str(process) for process, exists in enumerate(is_shared) if not exists]
    if missing:
        raise InputError(
            f"--workdir {path} is another folder in process {', '.join(missing)} than in "
            "process 0; give a folder on a disk that all machines share"
        )


def _move_aside(path):
    present = [path / name for name in FILES if (path / name).exists()]
    if not present:
        return
    aside = path / time.strftime("aside-%Y%m%d-%H%M%S")
    aside.mkdir()
    for file in present:
        file.rename(aside / file.name)
    print(f"moved the files of the earlier run to {aside}", flush=True)
