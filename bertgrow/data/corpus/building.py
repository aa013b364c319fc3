"""Writes a token store into its folder atomically, under a lock for one process."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bertgrow.core import system_files
from bertgrow.core.errors import InputError
from bertgrow.data.corpus import metadata, progress, shards

UNFINISHED = "unfinished"
WORK_VERSION = 2  # of the files in a working folder


@contextlib.contextmanager
def lock(output):
    """Locks the folder for this process; other processes wait for the lock."""
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
            progress.log(f"waiting: another process prepares {output}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def work_folder(output, made_from):
    """Returns the working folder of this store; deletes working folders of other stores."""
    content = json.dumps([WORK_VERSION, made_from], sort_keys=True)
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    work = output / UNFINISHED / key
    others = sorted(path.name for path in output.iterdir())
    if others and UNFINISHED not in others:
        raise InputError(
            f"--output {output} contains other files, such as {others[0]}; give a new folder"
        )
    if work.exists():
        progress.log(f"continuing the unfinished store in {output}")
    elif work.parent.exists():
        progress.log(f"discarding an unfinished store of other inputs or options in {output}")
        shutil.rmtree(work.parent)
    work.mkdir(parents=True, exist_ok=True)
    return work


def write(work, run, plan, paths, tokenizer):
    """Writes shards, indices and vocabulary into `work/store`; returns their metadata."""
    built = work / "store"
    shutil.rmtree(built, ignore_errors=True)
    built.mkdir()
    (built / tokenizer.file_name).write_bytes(tokenizer.content)
    size = tokenizer.vocab.size
    return {
        "format": metadata.FORMAT,
        "version": metadata.VERSION,
        "vocab": {
            "file": tokenizer.file_name,
            "kind": tokenizer.kind,
            "cased": tokenizer.cased,
            "size": size,
            "hash": tokenizer.hash,
        },
        "splits": {
            split: _write_split(built, split, run, shard_places, paths, size)
            for split, shard_places in plan.shards.items()
        },
        "words": plan.counts.words,
        "left_out": {"duplicates": plan.duplicates, "without_tokens": plan.counts.empty},
    }


def _write_split(built, split, run, shard_places, paths, size):
    names = [
        f"{split}-{n:05d}-of-{len(shard_places):05d}.array_record"
        for n in range(len(shard_places))
    ]
    tasks = [
        _Task(place, paths, built / name, size)
        for place, name in zip(shard_places, names, strict=True)
    ]
    counts, lengths, unigrams = zip(*run(_write_shard, tasks), strict=True)
    index = {
        "documents": np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
        "sentences": np.concatenate(lengths),
        "unigrams": np.sum(unigrams, axis=0),
    }
    for name, array in index.items():
        with open(built / f"{split}.{name}.npy", "wb") as file:
            # Given the file itself, NumPy reports a full disk without an error number.
            np.save(types.SimpleNamespace(write=file.write), array)
    return {
        "documents": len(index["documents"]) - 1,
        "sentences": len(index["sentences"]),
        "tokens": int(index["unigrams"].sum()),
        "shards": [
            {"file": name, "documents": len(place.part)}
            for name, place in zip(names, shard_places, strict=True)
        ],
    }


class _Task(NamedTuple):
    place: shards.Place
    paths: list
    target: Path
    size: int


def _write_shard(task):
    return shards.write(task.place, task.paths, task.target, size=task.size)


def finish(output, work, meta):
    """Moves the files into `output`, writes store.json last, and removes the working folder."""
    indexes = [f"{split}.*.npy" for split in shards.SPLITS]
    records = [f"{split}-*-of-*.array_record" for split in shards.SPLITS]
    for pattern in ("vocab.txt", "vocab.model", *indexes, *records):
        for path in output.glob(pattern):  # of an earlier call that ended in this function
            path.unlink()
    built = work / "store"
    meta["files"] = {
        path.name: {"bytes": path.stat().st_size, "sha256": system_files.sha256(path)}
        for path in sorted(built.iterdir())
    }
    meta["hash"] = metadata.content_hash(meta["files"])
    meta["checksum"] = metadata.checksum(meta)
    for name in meta["files"]:
        system_files.sync(built / name)
        (built / name).rename(output / name)
    unfinished = work / "store.json"
    unfinished.write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    system_files.sync(unfinished)
    system_files.sync(output)
    unfinished.rename(output / "store.json")
    system_files.sync(output)
    remove_unfinished(output)


def remove_unfinished(output):
    """Removes the working folders that an earlier run left beside a finished store."""
    shutil.rmtree(output / UNFINISHED, ignore_errors=True)
