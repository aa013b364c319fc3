"""Fills a teacher cache by one pass of the teacher over the sequences of a stage."""

import collections
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
from bertgrow.train import agreement, sharding
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
      InputError: another run writes the files, or an output is not finite.
    """
    handles = []

    def begin():
        """Locks the folder, writes `cache.json` and lists the missing parts."""
        caches.check(cache, teacher)
        cache.folder.mkdir(parents=True, exist_ok=True)
        handles.append(disk.lock(cache.folder, option="--cache"))
        identities = caches.read(cache.root) | {cache.name: cache.identity(teacher)}
        text = json.dumps(identities, indent=2) + "\n"
        system_files.write_atomically(cache.root / "cache.json", text)
        return cache.missing()

    try:
        missing = [entries.Part(*part) for part in agreement.from_first(begin)]
        written = _parts(cache, missing, stage, stream, position, mesh)
        for number, (part, records) in enumerate(written):
            tenth, before = (at * 10 // len(missing) for at in (number, number - 1))
            if tenth > before:
                say(f"cache {cache.folder}: writing file {number + 1} of {len(missing)}")
            if jax.process_index() == 0:
                entries.write(cache.folder / part.name, records)
            else:
                collections.deque(records, maxlen=0)  # takes part in the computation
        agreement.wait_for_all()  # the others read the files next
    finally:
        for handle in filter(None, handles):
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
        rows = sharding.process_rows(size, mesh)
        slices = [[addresses[i + row] for row in rows] for i in range(0, len(addresses), size)]
        outputs = _outputs(targets, stage.task.frozen, map(stream.read, slices), step, mesh)
        records = (entries.records(arrays, cache.layout.fields) for arrays in outputs)
        yield part, itertools.islice(itertools.chain.from_iterable(records), part.count)


def _compiled(stage, mesh):
    """Compiled function (frozen, batch, step) -> {name: array}, the teacher outputs.

    With several processes the outputs are replicated, because the first writes all of them.
    """

    def targets(frozen, batch, step):
        return stage.targets.make(frozen, stage.task.prepare(batch), step)

    is_alone = jax.process_count() == 1
    place = sharding.batch_sharding(mesh) if is_alone else sharding.replicated(mesh)
    return jax.jit(targets, out_shardings=place)


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
