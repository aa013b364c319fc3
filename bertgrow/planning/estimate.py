"""Makes the plan of a resolved recipe: sizes, FLOPs, memory, disk, time and cost."""

import dataclasses
import math

from bertgrow.core import flops, units
from bertgrow.core.types import StageContext
from bertgrow.models import families
from bertgrow.objectives import stages, transition
from bertgrow.planning import budget, calibration, growth_memory, memory, traced
from bertgrow.teacher_cache import cost_estimate
from bertgrow.train import loop, sharding
from bertgrow.train.checkpoints import disk

HEADS = ("mlm", "nsp")  # modules used in pre-training only; all others are the encoder


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
    family = families.find(settings.family)
    vocab = calibration.vocabulary(settings.model.vocab_size)
    todo = stages.make(settings, family, vocab)
    sizes = dataclasses.asdict(settings.mesh)
    chips = chips or math.prod(max(1, size) for size in sizes.values())
    mesh = sharding.abstract_mesh(sizes, chips)
    states = [loop.state_shapes(stage.task, stage.optimizer, mesh) for stage in todo]

    rows = []
    for index, (stage, state) in enumerate(zip(todo, states, strict=True)):
        context = StageContext(family, settings, index, vocab)
        config = context.stage
        row = _stage(family, config, stage)
        row["growth"] = _growth(context)
        frozen, rows_at_once = memory.frozen(stage, mesh), _rows_at_once(settings, config, mesh)
        evaluation = memory.evaluation_trace(stage.task, rows_at_once, config.length, frozen)
        row["memory"] = _memory(
            context, state, frozen,
            rows=rows_at_once, evaluation_working=traced.peak_bytes(evaluation),
        )  # fmt: skip
        row["memory"] |= _entry(context, todo, states, mesh)
        row["memory"]["peak"] = memory.peak(row["memory"], config.model.remat)
        row["evaluation"] = _evaluation(settings, config, rows_at_once, evaluation)
        row["checkpoint_bytes"] = disk.state_bytes(state)
        rows.append(row)
    plan = _compare(rows) | dict(
        chips=chips,
        mesh=dict(mesh.shape),
        whole=_whole(todo, states, mesh),
        disk_bytes=disk.bytes_needed(states, settings.checkpoint.keep),
    )
    plan["assumptions"] = [*_assumptions(settings, plan), *_remarks(settings, family, vocab)]
    if device:
        plan |= memory.fit(
            [row["memory"] for row in rows],
            device.memory,
            remat=settings.model.remat,
            accumulate=settings.accumulate,
        )
        budget.add(
            plan, settings, family, todo,
            device=device, chips=chips, mfu=mfu, price=price, calibrate=calibrate,
        )  # fmt: skip
    cost_estimate.add(plan, todo, read_rate=read_rate)
    return plan


def in_dtype(settings, dtype):
    """Replaces `dtype: auto` by the dtype of the device of the plan."""

    def settle(stage):
        if stage.model.dtype != "auto":
            return stage
        return dataclasses.replace(stage, model=dataclasses.replace(stage.model, dtype=dtype))

    return dataclasses.replace(settings, stages=tuple(map(settle, settings.stages)))


def _stage(family, config, stage):
    """Sizes, parameters, tokens and FLOPs of one stage."""
    parameters = dict(encoder=0, heads=0)
    for name, count in families.parameters(family, config.model).items():
        parameters["heads" if name in HEADS else "encoder"] += count
    return dict(
        name=config.name,
        task=config.task,
        start=config.start,
        steps=config.steps,
        batch=config.batch,
        length=config.length,
        predictions=config.masking.slots(config.length),
        **families.shape(family, config.model),
        parameters=parameters,
        tokens=config.steps * config.batch * config.length,
        flops_per_step=stage.flops,
        flops=config.steps * stage.flops,
    )


def _growth(context):
    """Rows of the growth operators into a stage; empty without growth."""
    operators = _operators(context) or ()
    return [
        dict(operator=growth.name, claim=growth.claim, changed=growth.describe)
        for growth in operators
    ]


def _operators(context):
    """Growth operators into a stage; None if it does not continue the stage before."""
    old, new = context.previous, context.stage
    if old is None or old.task != new.task:
        return None
    return transition.growths(context.family, old, new, context.settings.seed)


def _rows_at_once(settings, config, mesh):
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
        tasks[remat] = stages.task(_with(context, variant))
    return memory.count(
        tasks, state, frozen,
        length=config.length, layers=config.model.num_layers, remat=config.model.remat,
        accumulate=context.settings.accumulate, **sizes,
    )  # fmt: skip


def _entry(context, todo, states, mesh):
    """Bytes on one chip at the start of a stage: `growth` and `certificate`."""
    index, operators = context.index, _operators(context)
    pair = states[max(index - 1, 0)], states[index]
    if operators is None:
        return growth_memory.hand_over(todo[index], pair, mesh)
    before = todo[index - 1].task
    return growth_memory.count(context, operators, before, pair, mesh)


def _evaluation(settings, config, rows_at_once, trace):
    """Cost of the evaluations of a stage, which the training FLOPs exclude.

    Args:
      settings, config: config of the run and of the stage.
      rows_at_once: sequences of one micro-batch on one device.
      trace: `memory.evaluation_trace` of the same number of sequences.

    Returns:
      `rows` (sequences) of an evaluation, its `flops`, and `times`, the number of evaluations.
    """
    rows = math.ceil(settings.eval.rows / config.batch) * config.batch
    every = settings.eval.every
    steps = {config.start, config.end, *range(0, config.end + 1, every)}
    times = sum(max(config.start, 1) <= step <= config.end for step in steps)
    return dict(rows=rows, flops=rows // rows_at_once * traced.flops(trace), times=times)


def _with(context, stage):
    """Copy of `context` with `stage` in place of its stage."""
    configs = list(context.settings.stages)
    configs[context.index] = stage
    settings = dataclasses.replace(context.settings, stages=tuple(configs))
    return context._replace(settings=settings)


def _compare(rows):
    """Compares the stages with a plain recipe: model, batch and length of the last stage.

    If the stages have different tasks, there is no such recipe, and `plain` is absent.
    """
    last = rows[-1]
    steps, total = sum(row["steps"] for row in rows), sum(row["flops"] for row in rows)
    tokens = sum(row["tokens"] for row in rows)
    if any(row["task"] != last["task"] for row in rows):
        return dict(stages=rows, steps=steps, tokens=tokens, flops=total)
    plain = dict(
        steps=steps,
        tokens=steps * last["batch"] * last["length"],
        flops_per_step=last["flops_per_step"],
        flops=steps * last["flops_per_step"],
    )
    for row in rows:
        row["share_of_plain"] = row["flops"] / plain["flops"]
    costs = [(row["steps"], row["flops_per_step"]) for row in rows]
    speedup = flops.speedup(costs, (steps, last["flops_per_step"]))
    return dict(
        stages=rows,
        steps=steps,
        tokens=tokens,
        flops=total,
        plain=plain,
        speedup_percent=100 * speedup,
        speedup_percent_equal_tokens=100 * ((1 + speedup) * tokens / plain["tokens"] - 1),
    )


def _whole(stages, states, mesh):
    """Axes with a sharding rule that the mesh does not divide, and the weights with them."""
    found = {}
    for stage, state in zip(stages, states, strict=True):
        for axis in sharding.whole(stage.task.axes, state.params, mesh):
            key = (axis.axis.removesuffix("_in"), axis.size, axis.along, axis.parts)
            found.setdefault(key, {})[axis.path] = None
    names = ("axis", "size", "along", "parts")
    return [dict(zip(names, key, strict=True), weights=list(at)) for key, at in found.items()]


def _assumptions(settings, plan):
    yield (
        "FLOPs are those of matrix products, forward once and backward twice; tokens count "
        "padding"
    )
    plain = plan.get("plain")
    if plain:
        yield (
            f"the plain recipe trains the last stage's model, batch and length for all "
            f"{plan['steps']:,} steps"
        )
    else:
        yield "stages learn different things: there is no plain recipe to compare them with"
    if plain and plain["tokens"] != plan["tokens"]:
        read, speedup = units.si(plan["tokens"]), plan["speedup_percent_equal_tokens"]
        yield (
            f"that is {units.si(plain['tokens'])} tokens against {read} of the stages; per "
            f"token the speed-up is {speedup:+.1f} %"
        )
    source = "the store" if settings.data.store else "the recipe, which a run checks"
    yield f"the vocabulary has {settings.model.vocab_size:,} tokens, by {source}"
    yield (
        f"activations are in {settings.model.dtype}: all that the backward pass needs, and one "
        "and a half layers in work; the compiler for CPUs asked for 3 to 10 % less"
    )
    yield (
        "evaluations take the micro-batch of the step, and are no part of the FLOPs of "
        "training: their own are two forward passes, or more, over config.eval.rows"
    )
    if plan["mesh"]["tensor"] > 1:
        yield "activations are counted as if `tensor` did not divide them, which is too many"
    yield (
        f"disk holds each stage's last state, the newest {settings.checkpoint.keep} and one "
        "being written, uncompressed"
    )


def _remarks(settings, family, vocab):
    """Remarks of the objectives on their FLOPs, without duplicates."""
    remarks = (
        stages.find(family, stage.task).remarks(StageContext(family, settings, index, vocab))
        for index, stage in enumerate(settings.stages)
    )
    return dict.fromkeys(sentence for sentences in remarks for sentence in sentences)
