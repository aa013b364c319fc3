"""How a store comes to be in its folder: all at once, by one process, or not at all."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil

from bertgrow.data import progress, shards, store
from bertgrow.errors import InputError

UNFINISHED = "unfinished"


@contextlib.contextmanager
def only_one(output):
    """Holds the folder for this process; another one waits for its turn."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        handle = os.open(output, os.O_RDONLY)
    except OSError as error:
        raise InputError(
            f"--output {output}: {error.strerror}; give a folder to write"
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"waiting: another process prepares {output}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def folder(output, made_from):
    """Where the parts of this very store are built; those of any other are thrown away."""
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
    work = output / UNFINISHED / key
    if work.exists():
        progress.say(f"continuing the unfinished store in {output}")
    elif work.parent.exists():
        progress.say(f"discarding an unfinished store of other inputs or options in {output}")
        shutil.rmtree(work.parent)
    work.mkdir(parents=True, exist_ok=True)
    return work


def finish(output, work, meta):
    """Moves the files into place, writes store.json last, and clears the workshop."""
    for pattern in ("vocab.*", *(f"{split}[.-]*" for split in shards.SPLITS)):
        for old in output.glob(pattern):
            old.unlink()
    built = work / "store"
    meta["files"] = {
        path.name: {"bytes": path.stat().st_size, "sha256": store.file_digest(path)}
        for path in sorted(built.iterdir())
    }
    meta["hash"] = store.content_hash(meta["files"])
    for name in meta["files"]:
        _to_disk(built / name)
        (built / name).rename(output / name)
    unfinished = work / "store.json"
    unfinished.write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    _to_disk(unfinished)
    _to_disk(output)
    unfinished.rename(output / "store.json")
    _to_disk(output)
    clear(output)


def clear(output):
    """Removes what an earlier run may have left beside a finished store."""
    shutil.rmtree(output / UNFINISHED, ignore_errors=True)


def _to_disk(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
