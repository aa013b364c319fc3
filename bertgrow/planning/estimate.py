"""Makes the plan of a resolved recipe: sizes, FLOPs, memory, disk, time and cost."""

import dataclasses
import math

from bertgrow.core.types import StageContext
from bertgrow.models import families, on_device
from bertgrow.objectives import stages
from bertgrow.planning import (
    assumptions,
    budget,
    cache_cost,
    calibration,
    comparison,
    growth_memory,
    memory,
    traced,
)
from bertgrow.train import loop, sharding
from bertgrow.train.checkpoints import disk


def make(
    settings, *, device=None, chips=None, mfu=None, price=None, calibrate=False,
    read_rate=None,
):  # fmt: skip
    """Makes the plan as plain data, as `--json` prints it.

    Args:
      settings: `RunConfig` whose models have the dtype of the device.
      device: `hardware.Device`; None: the plan has no time and no cost.
      chips: number of chips; by default the product of the mesh axes of the recipe.
      mfu: fraction of the peak FLOP/s; by default the `utilisation` of the device.
      price: price of one chip for one hour.
      calibrate: whether to time the stages on the devices of this process.
      read_rate: bytes per second of the disk for the teacher cache.

    Raises:
      InputError: a stage cannot grow into the next, or a batch is not divisible by the
        mesh.
    """
    contexts, run_stages = _stages(settings)
    axes = dataclasses.asdict(settings.mesh)
    chips = chips or math.prod(max(1, size) for size in axes.values())
    mesh = sharding.abstract_mesh(axes, chips)
    states = [loop.state_shapes(stage.task, stage.optimizer, mesh) for stage in run_stages]
    rows = [_row(context, run_stages, states, mesh) for context in contexts]
    plan = comparison.compare(rows) | dict(
        chips=chips,
        mesh=dict(mesh.shape),
        whole=_whole(run_stages, states, mesh),
        disk_bytes=disk.bytes_needed(states, settings.checkpoint.keep),
    )
    plan["assumptions"] = assumptions.sentences(settings, plan, contexts)
    if device:
        plan |= memory.fit(
            [row["memory"] for row in rows],
            device.memory,
            remat=settings.model.remat,
            accumulate=settings.accumulate,
        )
        budget.add(
            plan, settings, contexts[0].family, run_stages,
            device=device, chips=chips, mfu=mfu, price=price, calibrate=calibrate,
        )  # fmt: skip
    cache_cost.add(plan, run_stages, read_rate=read_rate)
    return plan


def compared(settings):
    """Sizes, FLOPs and speed-up of a recipe: the part of the plan that needs no tracing."""
    return comparison.compare(list(map(comparison.stage_row, *_stages(settings))))


def in_dtype(settings, dtype):
    """Replaces `dtype: auto` by the dtype of the device of the plan."""

    def settle(stage):
        given = stage.model.dtype
        return dataclasses.replace(stage.model, dtype=dtype if given == "auto" else given)

    return on_device.each_model(settings, settle)


def _stages(settings):
    """Returns the `StageContext` and the `Stage` of every stage."""
    family = families.find(settings.family)
    vocab = calibration.vocabulary(settings.model.vocab_size)
    indices = range(len(settings.stages))
    contexts = [StageContext(family, settings, index, vocab) for index in indices]
    return contexts, stages.make(settings, family, vocab)


def _row(context, run_stages, states, mesh):
    """Figures of one stage, without time and cost."""
    settings, config, index = context.settings, context.stage, context.index
    stage, state = run_stages[index], states[index]
    row = comparison.stage_row(context, stage)
    frozen, sequences = memory.frozen(stage, mesh), _micro_batch(settings, config, mesh)
    evaluation = memory.evaluation_trace(stage.task, sequences, config.length, frozen)
    row["memory"] = _memory(
        context, state, frozen,
        sequences=sequences, evaluation_working=traced.peak_bytes(evaluation),
        parts=memory.tensor_parts(context.family.sizes(config.model), mesh.shape["tensor"]),
    )  # fmt: skip
    row["memory"] |= _growth_memory(context, run_stages, states, mesh)
    row["memory"]["peak"] = memory.peak(row["memory"], config.model.remat)
    row["evaluation"] = _evaluation(settings, config, sequences, evaluation)
    row["checkpoint_bytes"] = disk.state_bytes(state)
    return row


def _micro_batch(settings, config, mesh):
    """Sequences of one micro-batch on one device."""
    sharding.check_batch(config.batch, mesh, settings.accumulate)
    return config.batch // (mesh.shape["data"] * mesh.shape["fsdp"] * settings.accumulate)


def _memory(context, state, frozen, **sizes):
    """Bytes on one chip, with the activations of each remat policy."""
    config = context.stage
    tasks = {}
    for remat in memory.REMATS:
        model = dataclasses.replace(config.model, remat=remat)
        variant = dataclasses.replace(config, model=model)
        tasks[remat] = stages.task(_with_stage(context, variant))
    return memory.count(
        tasks, state, frozen,
        length=config.length, layers=config.model.num_layers, remat=config.model.remat,
        accumulate=context.settings.accumulate, **sizes,
    )  # fmt: skip


def _with_stage(context, stage):
    """Copy of `context` with `stage` in place of its stage."""
    configs = list(context.settings.stages)
    configs[context.index] = stage
    settings = dataclasses.replace(context.settings, stages=tuple(configs))
    return context._replace(settings=settings)


def _growth_memory(context, run_stages, states, mesh):
    """Bytes on one chip at the start of a stage: `growth` and `certificate`."""
    index, operators = context.index, comparison.operators(context)
    pair = states[max(index - 1, 0)], states[index]
    if operators is None:
        return growth_memory.hand_over(run_stages[index], pair, mesh)
    return growth_memory.count(context, operators, run_stages[index - 1].task, pair, mesh)


def _evaluation(settings, config, micro_batch, trace):
    """Cost of the evaluations of a stage, which the training FLOPs exclude.

    Args:
      settings, config: config of the run and of the stage.
      micro_batch: sequences of one micro-batch on one device.
      trace: `memory.evaluation_trace` of the same number of sequences.

    Returns:
      `rows` (sequences) of an evaluation, its `flops`, and `times`, the number of evaluations.
    """
    sequences = math.ceil(settings.eval.rows / config.batch) * config.batch
    steps = {config.start, config.end, *range(0, config.end + 1, settings.eval.every)}
    times = sum(max(config.start, 1) <= step <= config.end for step in steps)
    return dict(
        rows=sequences, flops=sequences // micro_batch * traced.flops(trace), times=times
    )


def _whole(run_stages, states, mesh):
    """Axes with a sharding rule that the mesh does not divide, and the weights with them."""
    weights = {}
    for stage, state in zip(run_stages, states, strict=True):
        for axis in sharding.unsharded_axes(stage.task.axes, state.params, mesh):
            key = (axis.axis.removesuffix("_in"), axis.size, axis.mesh_axis, axis.num_shards)
            weights.setdefault(key, {})[axis.path] = None
    names = ("axis", "size", "along", "parts")
    return [
        dict(zip(names, key, strict=True), weights=list(paths))
        for key, paths in weights.items()
    ]
