"""Compiles the programs of one stage for a mesh, and reads what they need on one device."""

import functools
import time

import jax

from bertgrow.core.types import StageContext
from bertgrow.growth import in_place
from bertgrow.models import families
from bertgrow.objectives import stages, transition
from bertgrow.planning import calibration, collectives, comparison, cycles, memory
from bertgrow.train import evaluation, loop, sharding

FULL = "RESOURCE_EXHAUSTED"  # begins the compiler's error where a program is too large


PROGRAMS = ("growth", "step", "evaluation")


def of_stage(settings, index, mesh, *, names=PROGRAMS, flops_per_cycle=0.0):
    """Yields the figures of the programs of one stage, each after its compilation.

    Args:
      settings: `RunConfig` with the dtype of the device.
      index: number of the stage.
      mesh: mesh of the devices, which may be absent ones.
      names: programs to compile; a stage without growth has none.
      flops_per_cycle: of one core, see `cycles.of_program`.

    Returns:
      Dicts with `program` (its name), `seconds` of compilation, bytes on one device
      (`arguments`, `temporaries`, `peak`), `collectives`, `cycles` and `uncounted`.
      The peak of an evaluation includes the optimizer state. A program that is too large for
      the compiler has `error` instead.
    """
    family = families.find(settings.family)
    vocab = calibration.vocabulary(settings.model.vocab_size)
    context = StageContext(family, settings, index, vocab)
    stage, accumulate = stages.make_one(context), settings.accumulate
    state = loop.state_shapes(stage.task, stage.optimizer, mesh)
    read = functools.partial(_figures, flops_per_cycle=flops_per_cycle)
    rest = memory.on_device(state) - memory.on_device(state.params)
    compiled = dict(
        growth=lambda: _growth(context, stage, mesh),
        step=lambda: read(_step(stage, state, mesh, accumulate)),
        evaluation=lambda: read(_evaluation(stage, state, mesh, accumulate), rest),
    )
    for name in names:
        if name != "growth" or comparison.operators(context):
            yield _timed(name, compiled[name])


def largest_slice(settings, index, mesh, limit):
    """Finds the largest micro-batch of a stage whose step fits into `limit` bytes.

    Args:
      settings, index, mesh: as in `of_stage`.

    Returns:
      (accumulate, number of compiled programs); accumulate is None if one sequence at a time
      does not fit.
    """
    family = families.find(settings.family)
    vocab = calibration.vocabulary(settings.model.vocab_size)
    stage = stages.make_one(StageContext(family, settings, index, vocab))
    state = loop.state_shapes(stage.task, stage.optimizer, mesh)
    candidates = slices(settings, mesh)
    low, high = 0, len(candidates)  # the first that fits is in candidates[low:high + 1]
    tries = 0
    while low < high:
        middle, tries = (low + high) // 2, tries + 1
        step = functools.partial(_step, stage, state, mesh, candidates[middle])
        figures = _timed("step", lambda step=step: _figures(step()))
        if figures.get("peak", limit + 1) <= limit:
            high = middle
        else:
            low = middle + 1
    return (candidates[low] if low < len(candidates) else None), tries


def slices(settings, mesh):
    """Values of `accumulate` that divide the sequences of one device in every stage."""
    devices = mesh.shape["data"] * mesh.shape["fsdp"]
    for config in settings.stages:
        sharding.check_batch(config.batch, mesh)
    counts = [config.batch // devices for config in settings.stages]
    return [n for n in range(1, min(counts) + 1) if not any(count % n for count in counts)]


def _timed(name, compiled):
    """Figures of a program; `error` if the compiler finds it too large."""
    begin = time.perf_counter()
    try:
        figures = compiled()
    except jax.errors.JaxRuntimeError as error:
        if FULL not in str(error):
            raise
        figures = dict(error=" ".join(str(error).split("\n\n")[0].split()))
    return dict(program=name, seconds=time.perf_counter() - begin) | figures


def _step(stage, state, mesh, accumulate):
    task = stage.task._replace(frozen=memory.frozen(stage, mesh))
    batch = _batch(stage, mesh)
    return loop.compile_step(task, stage.optimizer, state, batch, mesh, accumulate=accumulate)


def _evaluation(stage, state, mesh, accumulate):
    task = stage.task._replace(frozen=memory.frozen(stage, mesh))
    return evaluation.compile_evaluation(
        task, state.params, _batch(stage, mesh), mesh, accumulate=accumulate
    )


def _batch(stage, mesh):
    place = sharding.batch_sharding(mesh)
    shapes = memory.batch_shapes(stage.batch, stage.length)
    return jax.tree.map(lambda leaf: leaf.update(sharding=place), shapes)


def _growth(context, stage, mesh):
    """Figures of the growth into a stage, over all of its parts."""
    before = stages.make_one(context.at(context.index - 1))
    grow = transition.make_growth(
        comparison.operators(context), before.task.axes,
        optimizer=stage.optimizer, rules=context.stage.grow,
    )  # fmt: skip
    state = loop.state_shapes(before.task, before.optimizer, mesh)
    shardings = sharding.state_shardings(stage.task, stage.optimizer, mesh)
    plan = in_place.make_plan(state, grow, shardings)
    parts = [_figures(part.program) for part in plan.parts]
    return dict(
        arguments=plan.old_bytes,
        temporaries=max((part["temporaries"] for part in parts), default=0),
        peak=plan.peak_bytes,
        collectives=[each for part in parts for each in part["collectives"]],
    )


def _figures(compiled, rest=0, *, flops_per_cycle=0.0):
    """Figures of a compiled program; `rest` are other bytes in memory at the same time."""
    sizes, text = compiled.memory_analysis(), compiled.as_text()
    estimate = cycles.of_program(text, flops_per_cycle=flops_per_cycle)
    outputs = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    used = sizes.argument_size_in_bytes + outputs + sizes.temp_size_in_bytes
    return dict(
        arguments=sizes.argument_size_in_bytes,
        temporaries=sizes.temp_size_in_bytes,
        peak=used + sizes.generated_code_size_in_bytes + rest,
        collectives=[
            each._asdict() | dict(bytes=each.bytes) for each in collectives.of_program(text)
        ],
        **estimate._asdict(),
    )
