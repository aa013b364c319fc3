"""Compiles the stages of a recipe for a topology, in child processes, with a cache."""

import concurrent.futures
import functools
import hashlib
import json
import os
import pickle
import subprocess
import sys

from bertgrow.core.errors import CheckFailed, InputError
from bertgrow.planning import compile_child, figures_cache, hardware, topologies
from bertgrow.planning.compile_child import Order

FLAGS = ("JAX_", "LIBTPU_", "TPU_", "XLA_")  # environment variables of compilers
CHILD = [sys.executable, "-P", "-m", compile_child.__name__]
CHILD_BYTES = 6e9  # that the TPU compiler takes for a stage of BERT-large


def resolve(name):
    """Returns the `Topology` of a name, with its device and its number of chips.

    Raises:
      InputError: the name is unknown, or libtpu is not installed.
    """
    topology = topologies.parse(name)
    if name != topologies.ATTACHED:
        return topology
    (found,) = _run(Order("devices", topology))
    return topology._replace(device=hardware.of_kind(found["kind"]), chips=found["chips"])


def programs(settings, topology, names=("growth", "step", "evaluation")):
    """Figures of the programs of every stage, lists as `programs.of_stage` yields them."""
    orders = [
        compile_order(settings, topology, index, names) for index in range(len(settings.stages))
    ]
    return run_all(orders)


def compile_order(settings, topology, index, names):
    """The `Order` to compile the programs `names` of one stage."""
    device = topology.device
    per_cycle = device.peak / device.clock if device.clock else 0.0
    return Order("compile", topology, settings, index, names, flops_per_cycle=per_cycle)


def run_all(orders):
    """Results of orders for the same topology, some children at a time."""
    with concurrent.futures.ThreadPoolExecutor(_children(orders[0].topology)) as pool:
        return list(pool.map(_cached, orders))


def smallest_accumulate(settings, topology, index):
    """The smallest `accumulate` with which a stage's step fits, by compiling it; or None."""
    order = Order("search", topology, settings, index, limit=topology.device.memory)
    return _cached(order)[0]["accumulate"]


def _children(topology):
    """Number of children at a time; attached devices belong to one process."""
    if topology.name == topologies.ATTACHED:
        return 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return max(1, min(len(os.sched_getaffinity(0)), int(memory / CHILD_BYTES)))


def _cached(order):
    return figures_cache.get(_key(order), functools.partial(_run, order))


def _key(order):
    """Digest of everything that determines the figures of an order."""
    flags = sorted(item for item in os.environ.items() if item[0].startswith(FLAGS))
    described = [figures_cache.code(), repr(order), flags]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()


def _run(order):
    """Runs a child and returns the objects that it printed."""
    is_attached = order.topology.name == topologies.ATTACHED
    child = subprocess.run(
        CHILD,
        input=pickle.dumps(order),
        capture_output=True,
        env=os.environ | compile_child.environment(is_attached),
    )
    lines = child.stdout.decode(errors="replace").splitlines()
    results = [json.loads(line) for line in lines if line.startswith("{")]
    for result in results:
        if "input_error" in result:
            raise InputError(result["input_error"])
    if child.returncode:
        raise CheckFailed(_crash(order, child))
    return results


def _crash(order, child):
    """The error line of a child that died, with the last line that it wrote."""
    where = f"stage {order.settings.stages[order.index].name}" if order.settings else "devices"
    how = f"signal {-child.returncode}" if child.returncode < 0 else f"code {child.returncode}"
    lines = child.stderr.decode(errors="replace").strip().splitlines()
    last = f": {lines[-1]}" if lines else ""
    return f"the compiler for {order.topology.name} ended with {how} in {where}{last}"
