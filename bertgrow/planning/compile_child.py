"""Child process that compiles one stage; `bertgrow.planning.compiled` starts it.

It reads a pickled `Order` from standard input and prints one JSON object a line. It is a
process of its own because the TPU compiler takes much memory, reads its flags once and takes
over the handling of signals. `settings` of the order, made by the parent, is a `RunConfig`.
"""

import json
import mmap
import os
import pickle
import sys
from typing import Any, NamedTuple

STACK = "fibers_default_thread_stack_size"
STACK_BYTES = 8 << 20


class Order(NamedTuple):
    """What a child does: names the devices, compiles a stage, or searches its slice."""

    action: str  # "devices", "compile" or "search"
    topology: Any  # `topologies.Topology`
    settings: Any = None
    index: int = 0
    programs: tuple = ("growth", "step", "evaluation")  # to compile
    limit: float = 0.0  # bytes of a device, for "search"
    flops_per_cycle: float = 0.0


def environment(is_attached):
    """Changes to the environment of a child; the attached devices keep that of the user."""
    if is_attached:
        return {}
    return dict(
        JAX_PLATFORMS="cpu",
        TPU_SKIP_MDS_QUERY="1",  # there is no machine of Google's to ask
        ALLOW_MULTIPLE_LIBTPU_LOAD="1",
        JAX_ENABLE_COMPILATION_CACHE="false",  # it cannot read programs for absent devices
        XLA_FLAGS="",  # those of this machine's own devices
        TPU_STDERR_LOG_LEVEL="3",
        TF_CPP_MIN_LOG_LEVEL="3",
    )


def main():
    order = pickle.load(sys.stdin.buffer)
    if order.topology.name != "attached":
        _prepare_libtpu()
    try:
        for line in _results(order):
            print(json.dumps(line), flush=True)
    except Exception as error:
        from bertgrow.core.errors import InputError

        if not isinstance(error, InputError):
            raise
        print(json.dumps(dict(input_error=str(error))), flush=True)


def _results(order):
    from bertgrow.models import on_device
    from bertgrow.planning import programs
    from bertgrow.train import sharding

    devices = _devices(order.topology)
    if order.action == "devices":
        yield dict(kind=devices[0].device_kind, chips=len(devices))
        return
    settings = on_device.settle(order.settings, devices[0])
    mesh = sharding.make_mesh(vars(settings.mesh), devices=devices)
    if order.action == "search":
        accumulate, tries = programs.largest_slice(settings, order.index, mesh, order.limit)
        yield dict(accumulate=accumulate, tries=tries)
        return
    yield from programs.of_stage(
        settings, order.index, mesh,
        names=order.programs, flops_per_cycle=order.flops_per_cycle,
    )  # fmt: skip


def _devices(topology):
    import jax
    from jax.experimental import topologies as jax_topologies

    from bertgrow.core.errors import InputError
    from bertgrow.planning import topologies

    if topology.name == topologies.ATTACHED:
        return jax.devices()
    try:
        described = jax_topologies.get_topology_desc(topology.name, "tpu", **topology.options)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).partition(": ")[2].split("\n")[0] or str(error)
        raise InputError(topologies.refused(topology.name, reason)) from None
    return described.devices


def _prepare_libtpu():
    """Sets the optimisation level, and the stacks of the compiler's fibers if it can.

    A pooled stage with dropout, remat and fsdp overflows the small stacks (libtpu 0.0.42.1),
    and the process dies. An unknown flag would end it as well.
    """
    import jax
    import libtpu

    # Optimising as for a run takes three to five times as long, docs/plan.md.
    jax.config.update("jax_optimization_level", "O0")

    with (
        open(libtpu.get_library_path(), "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library,
    ):
        is_known = library.find(STACK.encode()) >= 0
    flags = os.environ.get("LIBTPU_INIT_ARGS", "")
    if is_known and STACK not in flags:
        os.environ["LIBTPU_INIT_ARGS"] = f"{flags} --{STACK}={STACK_BYTES}".strip()


if __name__ == "__main__":
    main()
