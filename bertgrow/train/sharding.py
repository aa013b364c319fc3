"""Sharding rules: map axis names of weights to axes of a mesh `data x fsdp x tensor`."""

import math
from typing import NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import NamedSharding

from bertgrow.core import errors, tree
from bertgrow.core.types import BATCH_AXES, TrainState

MESH = {"data": -1, "fsdp": 1, "tensor": 1}  # -1: all remaining devices

# Axes not listed here are not sharded, e.g. `layers`: layers are computed one by one.
RULES = {
    "embed": "fsdp",
    "body": "fsdp",
    "table": "fsdp",
    "extra": "fsdp",
    "vocab": "tensor",
    "heads": "tensor",
    "mlp": "tensor",
}
BATCH = jax.P(BATCH_AXES)


def make_mesh(spec=None, devices=None):
    """Makes a mesh, e.g. from {"data": -1, "fsdp": 1}; -1 takes the remaining devices."""
    devices = jax.devices() if devices is None else devices
    shape, types = _sizes(spec, len(devices)), (jax.sharding.AxisType.Auto,) * len(MESH)
    return jax.make_mesh(tuple(shape.values()), tuple(MESH), axis_types=types, devices=devices)


def abstract_mesh(spec, num_devices):
    """Makes the same mesh without devices, to plan for another machine."""
    shape, types = _sizes(spec, num_devices), (jax.sharding.AxisType.Auto,) * len(MESH)
    return jax.sharding.AbstractMesh(tuple(shape.values()), tuple(MESH), axis_types=types)


def _sizes(spec, num_devices):
    """Returns {mesh axis: number of devices}, in the order of `MESH`."""
    spec = MESH | dict(spec or {})
    if set(spec) != set(MESH):
        raise errors.InputError(f"mesh has axes {sorted(spec)}; choose among {sorted(MESH)}")
    shape = dict(spec)
    fixed = math.prod(size for size in shape.values() if size != -1)
    rest = [name for name, size in shape.items() if size == -1]
    if len(rest) == 1 and fixed > 0:
        shape[rest[0]] = num_devices // fixed
    if math.prod(shape.values()) != num_devices or min(shape.values()) < 1:
        raise errors.InputError(
            f"mesh {spec} does not use exactly {num_devices} devices; change its sizes "
            "(one may be -1: the rest)"
        )
    return {name: shape[name] for name in MESH}


def spec_of(shape, names, mesh, rules=RULES):
    """Returns the `jax.P` of a leaf. Each mesh axis shards the first axis that it divides."""
    used, spec = set(), []
    for size, name in zip(shape, names, strict=True):
        mesh_axis = rules.get(tree.base(name))
        if mesh_axis in used or mesh_axis is None or size % mesh.shape[mesh_axis]:
            mesh_axis = None
        used.add(mesh_axis)
        spec.append(mesh_axis)
    return jax.P(*spec)


def shardings(shapes, axes, mesh, rules=RULES):
    """Returns a NamedSharding for every leaf of a parameter tree (arrays or shapes)."""

    def at_leaf(leaf, names):
        return NamedSharding(mesh, spec_of(leaf.shape, names, mesh, rules))

    return tree.map_named(at_leaf, shapes, axes)


def state_shardings(task, optimizer, mesh, rules=RULES):
    """Returns the NamedShardings of a TrainState; moments are sharded like their weights."""
    params = jax.eval_shape(task.init, jax.random.key(0))
    opt_state = jax.eval_shape(optimizer.init, params)
    of_params, everywhere = shardings(params, task.axes, mesh, rules), replicated(mesh)
    moments = optax.tree.map_params(
        optimizer,
        lambda _, sharding: sharding,
        opt_state,
        of_params,
        transform_non_params=lambda _: everywhere,
    )
    return TrainState(everywhere, of_params, moments, everywhere)


def replicated(mesh):
    return NamedSharding(mesh, jax.P())


def batch_sharding(mesh):
    """Returns the sharding of a batch: sequences are divided over `data` and `fsdp`."""
    return NamedSharding(mesh, BATCH)


class UnshardedAxis(NamedTuple):
    """An axis that has a sharding rule but is not divisible by the mesh axis."""

    path: str
    axis: str
    size: int
    mesh_axis: str
    num_shards: int


def unsharded_axes(axes, shapes, mesh, rules=RULES):
    """Lists the axes that are not sharded because the mesh axis does not divide their size."""
    unsharded = []

    def at_leaf(path, names, leaf):
        for size, name in zip(leaf.shape, names, strict=True):
            mesh_axis = rules.get(tree.base(name))
            if mesh_axis and size % mesh.shape[mesh_axis]:
                num_shards = mesh.shape[mesh_axis]
                unsharded.append(
                    UnshardedAxis(tree.path_name(path), name, size, mesh_axis, num_shards)
                )

    jax.tree_util.tree_map_with_path(at_leaf, axes, shapes, is_leaf=tree.is_spec)
    return unsharded


def check_batch(batch, mesh, accumulate=1):
    """Raises an InputError if a global batch cannot be divided into equal parts."""
    devices = mesh.shape["data"] * mesh.shape["fsdp"]
    if batch % (devices * accumulate):
        slices = f" and {accumulate} slices" if accumulate > 1 else ""
        raise errors.InputError(
            f"a batch of {batch} sequences does not divide over {devices} devices (data "
            f"{mesh.shape['data']} x fsdp {mesh.shape['fsdp']}){slices}; choose a multiple of "
            f"{devices * accumulate} or another mesh"
        )


def process_rows(batch, mesh):
    """Numbers of the sequences of a batch that lie on the devices of this process.

    Processes have the same sequences where `tensor` spans them.

    Args:
      batch: global number of sequences, divisible by `data` x `fsdp`.
      mesh: mesh of `make_mesh`.

    Returns:
      int64 [sequences of this process], ascending.
    """
    check_batch(batch, mesh)
    places = batch_sharding(mesh).addressable_devices_indices_map((batch,))
    return np.unique(np.concatenate([np.arange(batch)[rows] for (rows,) in places.values()]))


def put(batch, mesh):
    """Makes global arrays on the mesh from this process's part of a batch.

    Args:
      batch: tree of NumPy arrays, the sequences `process_rows` of the global batch.
      mesh: mesh of `make_mesh`.
    """
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    local_shards = len(process_rows(shards, mesh))
    place = batch_sharding(mesh)

    def at_leaf(leaf):
        leaf = np.asarray(leaf)
        if len(leaf) % local_shards:
            check_batch(len(leaf) * jax.process_count(), mesh)
        batch = len(leaf) // local_shards * shards
        return _from_rows(leaf, process_rows(batch, mesh), batch, place)

    return jax.tree.map(at_leaf, batch)


def put_whole(batch, mesh):
    """Makes global arrays from a whole batch of NumPy arrays, equal in all processes."""
    place = batch_sharding(mesh)

    def at_leaf(leaf):
        leaf = np.asarray(leaf)
        check_batch(len(leaf), mesh)
        return _from_rows(leaf, np.arange(len(leaf)), len(leaf), place)

    return jax.tree.map(at_leaf, batch)


def _from_rows(leaf, rows, batch, place):
    """Array [batch, ...] on the devices; `leaf` has its rows with the numbers `rows`."""
    if place.is_fully_addressable:
        return jax.device_put(leaf, place)

    def shard(index):
        numbers = np.arange(batch)[index[0]]
        return leaf[np.searchsorted(rows, numbers)]

    return jax.make_array_from_callback((batch, *leaf.shape[1:]), place, shard)
