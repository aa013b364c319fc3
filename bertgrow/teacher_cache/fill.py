"""Fills a teacher cache by one pass of the teacher over the sequences of a stage."""

import contextlib
import itertools
import json
import math
import os

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core import system_files
from bertgrow.core.errors import InputError
from bertgrow.teacher_cache import cache as caches
from bertgrow.teacher_cache import entries
from bertgrow.train import sharding
from bertgrow.train.checkpoints import disk

AT_ONCE = 2**16  # sequences skipped at a time


def fill(cache, stage, stream, position, *, mesh, teacher, say):
    """Writes the missing parts of a cache; complete files are kept.

    Args:
      cache: `Cache` of the stage.
      stage: `Stage` with its `task.frozen` on the devices.
      stream: stream of the sequences of the stage.
      position: position of its first sequence.
      mesh: mesh of `sharding.make_mesh`.
      teacher: digest of the frozen weights.
      say: function (text), called with progress messages.

    Raises:
      InputError: several processes would write the files, or an output is not finite.
    """
    caches.check(cache, teacher)
    missing = cache.missing()
    if not missing:
        return
    if jax.process_count() > 1:
        raise InputError(
            f"--cache {cache.folder} lacks {len(missing)} files, which {jax.process_count()} "
            "processes would all write: fill it by a run of one process; any number may read it"
        )
    with _locked(cache.folder):
        identities = caches.read(cache.root) | {cache.name: cache.identity(teacher)}
        text = json.dumps(identities, indent=2) + "\n"
        system_files.write_atomically(cache.root / "cache.json", text)
        written = _parts(cache, missing, stage, stream, position, mesh)
        for number, (part, records) in enumerate(written):
            tenth, before = (at * 10 // len(missing) for at in (number, number - 1))
            if tenth > before:
                say(f"cache {cache.folder}: writing file {number + 1} of {len(missing)}")
            entries.write(cache.folder / part.name, records)


@contextlib.contextmanager
def _locked(folder):
    """Creates the folder and locks it: one process at a time may write there."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = disk.lock(folder, option="--cache")
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _parts(cache, missing, stage, stream, position, mesh):
    """Yields (part, iterator of its records); consume each iterator before the next part."""
    targets, index, size = _compiled(stage, mesh), 0, cache.batch // cache.slices
    for part in missing:
        first = cache.layout.first_row(part)
        position = _skip(stream, position, first - index)
        index = first + size * math.ceil(part.count / size)
        addresses, position = stream.take(position, index - first)
        step = cache.start + part.phase * (stage.steps // cache.layout.phases)
        slices = [addresses[i : i + size] for i in range(0, len(addresses), size)]
        outputs = _outputs(targets, stage.task.frozen, map(stream.read, slices), step, mesh)
        records = (entries.records(arrays, cache.layout.fields) for arrays in outputs)
        yield part, itertools.islice(itertools.chain.from_iterable(records), part.count)


def _compiled(stage, mesh):
    """Compiled function (frozen, batch, step) -> {name: array}, the teacher outputs."""

    def targets(frozen, batch, step):
        return stage.targets.make(frozen, stage.task.prepare(batch), step)

    return jax.jit(targets, out_shardings=sharding.batch_sharding(mesh))


def _outputs(targets, frozen, batches, step, mesh):
    """Yields {name: NumPy array} of each batch, while the devices compute the next one."""
    previous = None
    for batch in batches:
        current = targets(frozen, sharding.put(batch, mesh), jnp.int32(step))
        if previous is not None:
            yield _finite(previous)
        previous = current
    yield _finite(previous)


def _finite(arrays):
    """Copies arrays to the host; InputError if one is not finite in its stored dtype."""
    arrays = jax.device_get(arrays)
    for name, array in arrays.items():
        if jnp.issubdtype(array.dtype, jnp.floating) and not np.isfinite(array).all():
            raise InputError(
                f"--cache: {name} has values that are not finite as {array.dtype}; set "
                "config.transfer.cache_dtype to bfloat16 or float32, or train another teacher"
            )
    return arrays


def _skip(stream, position, count):
    """Position after `count` more sequences; they are planned but not read."""
    for first in range(0, count, AT_ONCE):
        _, position = stream.take(position, min(AT_ONCE, count - first))
    return position
