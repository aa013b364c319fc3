"""Grows a state where it lies, some leaves at a time, and frees the old ones on the way."""

import math
import time
from typing import Any, NamedTuple

import jax
from jax.extend.core import jaxpr_as_fun


class Part(NamedTuple):
    """Some leaves of the grown state, computed at once. Leaves are known by their number."""

    program: Any  # compiled: all leaves of the old state -> writes
    reads: tuple[int, ...]  # leaves of the old state
    writes: tuple[int, ...]  # leaves of the new state
    frees: tuple[int, ...]  # leaves of the old state that no later part reads


class Plan(NamedTuple):
    """How a state grows, compiled; bytes are those of one device, as the compiler counts."""

    parts: tuple[Part, ...]
    same: dict  # {new leaf: old leaf} of those that pass through as they are
    unread: tuple[int, ...]  # old leaves that nothing needs
    structure: Any  # of the new state
    old_bytes: int
    new_bytes: int
    peak_bytes: int


def grow_sharded(state, grow, out_shardings):
    """Grows on the devices, from shards to shards, and frees the old leaves as it goes.

    Nothing passes through the host. Donation does nothing where shapes change, so the new
    leaves come in parts, each compiled for itself, and an old leaf is deleted once its last
    reader is done; the peak is little above the larger of the two states where the growth
    is large. Where it fails on the way both are lost: go on from the checkpoint.

    Args:
      state: TrainState on devices; gone afterwards, but for leaves that live on unchanged.
      grow: pure function of the state, e.g. `state.grow_state` with its options bound.
      out_shardings: tree of shardings of the grown state.

    Returns:
      The grown state, and its cost: `seconds` without compilation, `compile_seconds`,
      `old_bytes`, `new_bytes` and `peak_bytes` of one device as `peak_source` ("compiler":
      memory_analysis) counts them, and, where the device keeps account,
      `device_peak_bytes` since the process began.
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
    """The compiled parts of a growth; `state` may be of shapes with shardings.

    The largest leaves come first, while the new state is still small, and a part holds no
    more than the largest leaf needs: smaller parts would not lower the peak.
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
    """The grown state; an old leaf is deleted once nothing needs it any more."""
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
    """{new leaf: old leaf} of leaves that are the old ones, and stay where they are."""
    given = {variable: leaf for leaf, variable in enumerate(jaxpr.invars)}
    return {
        i: given[variable]
        for i, variable in enumerate(jaxpr.outvars)
        if not hasattr(variable, "val")  # a literal, which cannot be looked up
        and variable in given
        and old[given[variable]].sharding == where[i]
    }


def _groups(sizes):
    """Leaves from large to small, as many together as are no larger than the largest."""
    groups, room = [], 0
    for leaf in sorted(sizes, key=sizes.get, reverse=True):
        if not groups or sizes[leaf] > room:
            groups.append([])
            room = max(sizes.values())
        groups[-1].append(leaf)
        room -= sizes[leaf]
    return groups


def _compile(traced, writes, old, where):
    """The part that computes the leaves `writes`.

    `jit` drops what these do not need. It then reads only some of the old leaves: the others
    have no input sharding, and may be deleted before the call.
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
    """Bytes of one device at the worst moment: what is alive, and what a part adds."""
    peak = alive = sum(sizes)
    alive -= sum(sizes[leaf] for leaf in unread)
    for part in parts:
        memory = part.program.memory_analysis()
        alive += memory.output_size_in_bytes
        peak = max(peak, alive + memory.temp_size_in_bytes)
        alive -= sum(sizes[leaf] for leaf in part.frees)
    return peak


def _bytes(leaf):
    """Bytes of one device."""
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
