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
    unchanged: dict  # {new leaf: old leaf} of unchanged leaves
    unused: tuple[int, ...]  # unused old leaves
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
    start = time.perf_counter()
    plan = make_plan(state, grow, out_shardings)
    compiled = time.perf_counter()
    grown = _run(plan, jax.tree.leaves(state))
    cost = {
        "seconds": time.perf_counter() - compiled,
        "compile_seconds": compiled - start,
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
    old, shardings = jax.tree.leaves(state), jax.tree.leaves(out_shardings)
    unchanged = _unchanged(traced.jaxpr, old, shardings)
    new = [
        jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
        for leaf, sharding in zip(jax.tree.leaves(shapes), shardings, strict=True)
    ]
    new_sizes = {i: _bytes(leaf) for i, leaf in enumerate(new) if i not in unchanged}
    compiled = [_compile(traced, writes, old, shardings) for writes in _groups(new_sizes)]
    parts, still_read = [], set(unchanged.values())
    for part in reversed(compiled):
        parts.insert(0, part._replace(frees=tuple(set(part.reads) - still_read)))
        still_read |= set(part.reads)
    unused = tuple(set(range(len(old))) - still_read)
    sizes = [_bytes(leaf) for leaf in old]
    return Plan(
        tuple(parts), unchanged, unused, jax.tree.structure(shapes),
        sum(sizes), sum(map(_bytes, new)), _peak(parts, unused, sizes),
    )  # fmt: skip


def _run(plan, old):
    """Runs the parts and returns the grown state. Deletes old leaves after their last use."""
    new = {i: old[j] for i, j in plan.unchanged.items()}
    for leaf in plan.unused:
        old[leaf].delete()
    for part in plan.parts:
        outputs = jax.block_until_ready(part.program(*old))
        new |= zip(part.writes, outputs, strict=True)
        for leaf in part.frees:
            old[leaf].delete()
    return jax.tree.unflatten(plan.structure, [new[leaf] for leaf in range(len(new))])


def _unchanged(jaxpr, old, shardings):
    """Returns {new leaf: old leaf} of leaves whose value and sharding do not change."""
    inputs = {variable: leaf for leaf, variable in enumerate(jaxpr.invars)}
    return {
        i: inputs[variable]
        for i, variable in enumerate(jaxpr.outvars)
        if not hasattr(variable, "val")  # a literal, which cannot be a dict key
        and variable in inputs
        and old[inputs[variable]].sharding == shardings[i]
    }


def _groups(sizes):
    """Groups leaves from large to small; no group is larger than the largest leaf."""
    groups, free_bytes = [], 0
    for leaf in sorted(sizes, key=sizes.get, reverse=True):
        if not groups or sizes[leaf] > free_bytes:
            groups.append([])
            free_bytes = max(sizes.values())
        groups[-1].append(leaf)
        free_bytes -= sizes[leaf]
    return groups


def _compile(traced, writes, old, shardings):
    """Compiles the part that computes the leaves `writes`.

    `jit` removes unused computations and inputs. Unused old leaves have no input sharding,
    and may be deleted before the call.
    """
    grow, writes = jaxpr_as_fun(traced), tuple(sorted(writes))

    def part(*leaves):
        grown = grow(*leaves)
        return [grown[leaf] for leaf in writes]

    jitted = jax.jit(part, out_shardings=[shardings[leaf] for leaf in writes])
    program = jitted.lower(*old).compile()
    used, _ = program.input_shardings  # of the arguments, in order; None if unused
    reads = tuple(leaf for leaf, sharding in enumerate(used) if sharding is not None)
    return Part(program, reads, writes, ())


def _peak(parts, unused, sizes):
    """Peak bytes of one device: live leaves and the memory that a part adds."""
    peak = live_bytes = sum(sizes)
    live_bytes -= sum(sizes[leaf] for leaf in unused)
    for part in parts:
        memory = part.program.memory_analysis()
        live_bytes += memory.output_size_in_bytes
        peak = max(peak, live_bytes + memory.temp_size_in_bytes)
        live_bytes -= sum(sizes[leaf] for leaf in part.frees)
    return peak


def _bytes(leaf):
    """Bytes of a leaf on one device."""
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
