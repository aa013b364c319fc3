"""Writes and reads the files of one checkpoint with Orbax: a train state and its record."""

import logging
import sys
from typing import Any, TypedDict

import jax
import numpy as np
import orbax.checkpoint as ocp

from bertgrow.core import errors, json_files, tree
from bertgrow.core.types import TrainState

HINT = "restore the checkpoint from a copy, or remove it to use the one before"


def _is_not_reported_twice(record):
    """Drops the tracebacks that Orbax logs for a failed save, whose error is raised, too."""
    return record.levelno < logging.ERROR or "orbax" not in record.pathname


def _drop_closed_loops(unraisable, then=sys.unraisablehook):
    """Drops the errors of writes that were in flight when Orbax ended a failed save."""
    if str(unraisable.exc_value) != "Event loop is closed":
        then(unraisable)


logging.getLogger("absl").addFilter(_is_not_reported_twice)
sys.unraisablehook = _drop_closed_loops


class Saved(TypedDict):
    record: Any
    key: str


def writer():
    """Returns an Orbax checkpointer that writes in background threads."""
    return ocp.AsyncCheckpointer(_handler())


def contents(state, record):
    """Returns the Orbax arguments that save a state and its record."""
    record = {"record": record, "key": str(jax.random.key_impl(state.key))}
    return ocp.args.Composite(
        state=ocp.args.PyTreeSave(plain(state)), record=ocp.args.JsonSave(record)
    )


def read_record(folder, kind=dict):
    """Returns (record, name of the implementation of the random key).

    Args:
      folder: of the checkpoint.
      kind: declared type of the record.

    Raises:
      InputError: the record is missing or of another type.
    """
    path = folder / "record" / "metadata"
    saved = json_files.read(path, Saved, hint=HINT)
    try:
        return json_files.check(saved["record"], kind), saved["key"]
    except ValueError as error:
        raise errors.InputError(f"{path} is damaged: {error}; {HINT}") from None


def read(folder, target, *, ignore=(), **options):
    """Reads the arrays of `target`, a tree of `jax.ShapeDtypeStruct` with shardings.

    The checkpoint may have further arrays whose paths start with one of `ignore`.

    Raises:
      InputError: an array is missing or differs. Orbax alone would cast to another dtype
        silently.
    """
    _check(folder, target, tuple(ignore))
    restore_args = ocp.checkpoint_utils.construct_restore_args(target)
    restore = ocp.args.PyTreeRestore(item=target, restore_args=restore_args, **options)
    with ocp.Checkpointer(_handler()) as reader:
        return reader.restore(folder, args=ocp.args.Composite(state=restore)).state


def plain(state):
    """Replaces the key by its raw data, because our Orbax type handlers do not support keys.

    Args:
      state: TrainState of arrays, or of `jax.ShapeDtypeStruct` with shardings.
    """
    if isinstance(state.key, jax.Array):
        return state._replace(key=jax.random.key_data(state.key))
    data = jax.eval_shape(jax.random.key_data, state.key)
    sharding = state.key.sharding
    return state._replace(key=jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=sharding))


def _check(folder, target, ignore):
    """Raises an InputError for the first array that is missing or differs."""
    with ocp.Checkpointer(_handler()) as reader:
        saved = reader.metadata(folder).item_metadata["state"].tree
    names = TrainState._fields if isinstance(target, TrainState) else list(target)
    saved = _table({name: saved[name] for name in names if name in saved})
    expected = _table(target)
    for name in sorted(saved.keys() | expected.keys()):
        if name.startswith(ignore) and name not in expected:
            continue
        if saved.get(name) != expected.get(name):
            raise errors.InputError(
                f"checkpoint {folder.name} in {folder.parent} holds {name} as "
                f"{saved.get(name, 'nothing')}, and {expected.get(name, 'nothing')} is "
                "expected: use the recipe that it was written with"
            )


def _table(shapes):
    """Returns {path: "float32 [2, 3]"} for a tree of arrays or shapes."""
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    return {tree.path_name(path): f"{x.dtype} {list(x.shape)}" for path, x in leaves}


def _handler():
    """Returns the Orbax handler of a state and its record; the first replica writes each array.

    By default Orbax divides the writing among replicas and compiles a program per shape for
    it. The first save then blocks for seconds, which is too long shortly before a deadline.
    """
    handlers = ocp.type_handlers
    registry = handlers.create_type_handler_registry(
        (jax.Array, handlers.ArrayHandler(use_replica_parallel=False)),
        (np.ndarray, handlers.NumpyHandler()),
        (int, handlers.ScalarHandler()),
        (float, handlers.ScalarHandler()),
    )
    return ocp.CompositeCheckpointHandler(
        state=ocp.PyTreeCheckpointHandler(type_handler_registry=registry),
        record=ocp.JsonCheckpointHandler(),
    )
