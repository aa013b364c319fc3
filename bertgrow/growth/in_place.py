"""Grows a sharded train state in place, freeing old buffers as it goes."""

import math
import time
from typing import Any, NamedTuple

import jax
from jax.extend.core import jaxpr_as_fun


class Part(NamedTuple):
    """A group of leaves of the grown state, computed together. Leaves are given by index."""

    program: Any  # compiled: all leaves of the old state -> writes
    reads: tuple[int, ...]  # leaves of the old state
    writes: tuple[int, ...]  # leaves of the new state
    frees: tuple[int, ...]  # leaves of the old state that no later part reads


class Plan(NamedTuple):
    """Compiled growth of a state. Bytes are those of one device, as the compiler counts."""

    parts: tuple[Part, ...]
    same: dict  # {new leaf: old leaf} of unchanged leaves
    unread: tuple[int, ...]  # unused old leaves
    structure: Any  # of the new state
    old_bytes: int
    new_bytes: int
    peak_bytes: int


def grow_sharded(state, grow, out_shardings):
    """Grows a sharded state on its devices and frees the old leaves as it goes.

    No data is copied to the host. Buffer donation has no effect if shapes change. The new
    leaves are therefore computed in parts, each compiled separately, and an old leaf is
    deleted after the last part that reads it. If the growth is large, peak memory is only a
    little above the larger of the two states. If growth fails halfway, both states are lost:
    continue from the checkpoint.

    Args:
      state: TrainState on devices; deleted afterwards, except unchanged leaves, which the
        grown state reuses.
      grow: pure function of the state, e.g. `train_state.grow_state` with its options bound.
      out_shardings: tree of shardings of the grown state.

    Returns:
      The grown state, and its cost: `seconds` without compilation, `compile_seconds`,
      `old_bytes`, `new_bytes` and `peak_bytes` of one device as `peak_source` ("compiler":
      memory_analysis) counts them, and `device_peak_bytes` since the process began if the
      device reports memory statistics.
    """
    began = time.perf_counter()
    plan = make_plan(state, grow, out_shardings)
    ready = time.perf_counter()
    grown = _run(plan, jax.tree.leaves(state))
    cost = {
        "seconds": time.perf_counter() - ready,
        "compile_seconds": ready - began,
        **{name: getattr(plan, name) for name in ("old_bytes", "new_bytes", "peak_bytes")},
        "peak_source": "compiler",
    }
    account = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in account:
        cost["device_peak_bytes"] = account["peak_bytes_in_use"]
    return grown, cost


def make_plan(state, grow, out_shardings):
    """Compiles the parts of a growth. `state` may hold shapes with shardings.

    The largest leaves come first, when little of the new state is allocated. A part is at
    most as large as the largest leaf: smaller parts would not lower the peak.
    """
    traced, shapes = jax.make_jaxpr(grow, return_shape=True)(state)
    old, where = jax.tree.leaves(state), jax.tree.leaves(out_shardings)
    same = _unchanged(traced.jaxpr, old, where)
    new = [
        jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=there)
        for leaf, there in zip(jax.tree.leaves(shapes), where, strict=True)
    ]
    drafts = [
        _compile(traced, writes, old, where)
        for writes in _groups({i: _bytes(leaf) for i, leaf in enumerate(new) if i not in same})
    ]
    parts, later = [], set(same.values())
    for part in reversed(drafts):
        parts.insert(0, part._replace(frees=tuple(set(part.reads) - later)))
        later |= set(part.reads)
    unread = tuple(set(range(len(old))) - later)
    sizes = [_bytes(leaf) for leaf in old]
    return Plan(
        tuple(parts), same, unread, jax.tree.structure(shapes),
        sum(sizes), sum(map(_bytes, new)), _peak(parts, unread, sizes),
    )  # fmt: skip


def _run(plan, old):
    """Runs the parts and returns the grown state. Deletes old leaves after their last use."""
    new = {i: old[j] for i, j in plan.same.items()}
    for leaf in plan.unread:
        old[leaf].delete()
    for part in plan.parts:
        done = jax.block_until_ready(part.program(*old))
        new |= zip(part.writes, done, strict=True)
        for leaf in part.frees:
            old[leaf].delete()
    return jax.tree.unflatten(plan.structure, [new[leaf] for leaf in range(len(new))])


def _unchanged(jaxpr, old, where):
    """Returns {new leaf: old leaf} of leaves whose value and sharding do not change."""
    given = {variable: leaf for leaf, variable in enumerate(jaxpr.invars)}
    return {
        i: given[variable]
        for i, variable in enumerate(jaxpr.outvars)
        if not hasattr(variable, "val")  # a literal, which cannot be a dict key
        and variable in given
        and old[given[variable]].sharding == where[i]
    }


def _groups(sizes):
    """Groups leaves from large to small; no group is larger than the largest leaf."""
    groups, room = [], 0
    for leaf in sorted(sizes, key=sizes.get, reverse=True):
        if not groups or sizes[leaf] > room:
            groups.append([])
            room = max(sizes.values())
        groups[-1].append(leaf)
        room -= sizes[leaf]
    return groups


def _compile(traced, writes, old, where):
    """Compiles the part that computes the leaves `writes`.

    `jit` removes unused computations and inputs. Unused old leaves have no input sharding,
    and may be deleted before the call.
    """
    grow, writes = jaxpr_as_fun(traced), tuple(sorted(writes))

    def part(*leaves):
        grown = grow(*leaves)
        return [grown[leaf] for leaf in writes]

    jitted = jax.jit(part, out_shardings=[where[leaf] for leaf in writes])
    program = jitted.lower(*old).compile()
    shardings, _ = program.input_shardings  # of the arguments, in order
    reads = tuple(leaf for leaf, sharding in enumerate(shardings) if sharding is not None)
    return Part(program, reads, writes, ())


def _peak(parts, unread, sizes):
    """Peak bytes of one device: live leaves and the memory that a part adds."""
    peak = alive = sum(sizes)
    alive -= sum(sizes[leaf] for leaf in unread)
    for part in parts:
        memory = part.program.memory_analysis()
        alive += memory.output_size_in_bytes
        peak = max(peak, alive + memory.temp_size_in_bytes)
        alive -= sum(sizes[leaf] for leaf in part.frees)
    return peak


def _bytes(leaf):
    """Bytes of a leaf on one device."""
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
