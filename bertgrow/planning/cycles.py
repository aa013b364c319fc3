"""Adds up the compiler's own estimate of the cycles of a TPU program.

The TPU compiler writes `estimated_cycles` beside most operations. Collectives and most custom
kernels have none; a kernel with a cost estimate of its own is counted by it, and all others
are named, so that a reader knows what the sum leaves out.
"""

import re
from typing import NamedTuple

from bertgrow.planning import collectives, hlo

_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_TARGET = re.compile(r'custom_call_target="([^"]+)"')
_KERNEL = re.compile(r'"cost_estimate":\{[^}]*?"flops":"?(\d+)')
# Custom calls that are no kernels: hints, buffers and other views of indices and arrays.
_FREE = (
    "AllocateBuffer", "AssumeGatherIndicesInBound", "ConcatBitcast",
    "GatherScatterIndicesBitpacked", "Sharding",
)  # fmt: skip


class Estimate(NamedTuple):
    """Cycles of one run of a program on one core."""

    cycles: int
    uncounted: dict  # {operation: times} without an estimate


def of_program(text, *, flops_per_cycle=0.0):
    """Returns the `Estimate` of a compiled program.

    Args:
      text: `compiled.as_text()`.
      flops_per_cycle: of a core at its peak, to count kernels by their own FLOPs.
    """
    total, uncounted = 0, {}
    for line in hlo.walk(text, is_leaf=_is_counted):
        if match := _CYCLES.search(line.text):
            total += line.times * int(match[1])
        elif collectives.is_collective(line.text):
            uncounted["collectives"] = uncounted.get("collectives", 0) + line.times
        elif (target := _TARGET.search(line.text)) and target[1] not in _FREE:
            kernel = _KERNEL.search(line.text)
            if kernel and flops_per_cycle:
                total += line.times * round(int(kernel[1]) / flops_per_cycle)
            else:
                uncounted[target[1]] = uncounted.get(target[1], 0) + line.times
    return Estimate(total, uncounted)


def _is_counted(line):
    """Whether a line stands for all that it calls."""
    return bool(_CYCLES.search(line)) or collectives.is_collective(line)
