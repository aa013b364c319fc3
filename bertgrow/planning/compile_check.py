"""Adds to a plan what the compiler says of every stage: memory, collectives and time."""

import dataclasses

from bertgrow.core import units
from bertgrow.core.errors import CheckFailed
from bertgrow.planning import compile_table, compiled, memory


def add(plan, settings, topology):
    """Compiles all stages, and adds `compiled` to a plan of `estimate.make`.

    `compiled` has the topology and for each stage its `programs`, `peak`, `fits`, and where the
    compiler estimates cycles, `seconds_per_step` and `of_peak`, the share of the peak FLOP/s.
    `advice` is a sentence where a stage does not fit, else "".
    """
    device = topology.device
    rows = [
        _row(row, programs, plan["chips"], device)
        for row, programs in zip(
            plan["stages"], compiled.programs(settings, topology), strict=True
        )
    ]
    result = dict(topology=topology.name, device=device._asdict(), stages=rows)
    plan["compiled"] = result | dict(advice=_advice(plan, settings, rows, device))
    plan["assumptions"] += compile_table.assumptions(plan)


def with_largest_slices(plan, settings, topology):
    """Settings with the smallest `accumulate`, so the largest micro-batch, that fits.

    The stage with the largest estimate is searched first, the others only where the result is
    too large for them.

    Raises:
      CheckFailed: not even one sequence at a time fits.
    """
    totals = [row["memory"]["total"] for row in plan["stages"]]
    stage = totals.index(max(totals))
    accumulate = 0
    while stage is not None:
        found = compiled.smallest_accumulate(settings, topology, stage)
        if found is None:
            raise CheckFailed(
                f"stage {plan['stages'][stage]['name']} does not fit into "
                f"{units.si(topology.device.memory, 'B')} of {topology.device.name} with one "
                "sequence at a time: set --config.model.remat=full, raise --config.mesh.fsdp "
                "or take more chips"
            )
        accumulate = max(accumulate, found)
        settings = dataclasses.replace(settings, accumulate=accumulate)
        stage = _first_failing(settings, topology)
    return settings


def _first_failing(settings, topology):
    """Index of the first stage whose step does not fit; None if all fit."""
    for index, (step,) in enumerate(compiled.programs(settings, topology, ("step",))):
        if step.get("peak", topology.device.memory + 1) > topology.device.memory:
            return index
    return None


def _row(row, programs, chips, device):
    peaks = [program.get("peak") for program in programs]
    peak = None if None in peaks else max(peaks)
    result = dict(
        name=row["name"],
        programs=programs,
        peak=peak,
        fits=peak is not None and peak <= device.memory,
    )
    (step,) = (program for program in programs if program["program"] == "step")
    if step.get("cycles") and device.clock:
        seconds = step["cycles"] / device.clock
        share = row["flops_per_step"] / (chips * device.peak * seconds)
        result |= dict(seconds_per_step=seconds, of_peak=share)
    return result


def _advice(plan, settings, rows, device):
    """What to change where a stage does not fit; "" if all fit."""
    failing = [row["name"] for row in rows if not row["fits"]]
    if not failing:
        return ""
    verb = "does" if len(failing) == 1 else "do"
    plural = "" if len(failing) == 1 else "s"
    limit = units.si(device.memory, "B")
    start = f"stage{plural} {', '.join(failing)} {verb} not fit into {limit} of {device.name}"
    return f"{start}: {_change(plan, settings, rows, device)}"


def _change(plan, settings, rows, device):
    """Recipe fields that make room, by the estimate, scaled where the compiler needs more."""
    memories = [row["memory"] | dict(fits=True) for row in plan["stages"]]
    scales = [
        row["peak"] / row_memory["peak"]
        for row, row_memory in zip(rows, memories, strict=True)
        if row["peak"]
    ]
    limit = min(device.memory, device.memory / max(scales, default=1.0))
    found = memory.fit(
        memories, limit, remat=settings.model.remat, accumulate=settings.accumulate
    ).get("advice")
    if found:
        fields = " ".join(f"--config.{name}={value}" for name, value in found.items())
        return f"add {fields}"
    if plan["mesh"]["fsdp"] * plan["mesh"]["tensor"] < plan["chips"]:
        fields = f"--config.mesh.data=1 --config.mesh.fsdp={plan['chips']}"
        return f"divide the weights over the chips, {fields}"
    return "--search-batch finds the largest micro-batch; or take more chips"
