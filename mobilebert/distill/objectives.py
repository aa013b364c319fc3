"""Objectives of distillation stages: tasks, initial state, optimizer and FLOPs.

Task names in a recipe: `progressive` and `joint` transfer layers and are followed by
`distill`; `auxiliary` does both at once (PKT, JKT, AKT of Sun et al., 2020, figure 2).
"""

import dataclasses
import functools

from bertgrow.core.types import Objective, Targets
from bertgrow.objectives import stages
from bertgrow.run import workdir
from mobilebert.distill import copying, schedule, tasks, teacher_outputs, teachers
from mobilebert.models import mobilebert

FROZEN = ("embeddings", "mlm", "nsp", "pooler")  # modules that layer transfer does not train


def _task(context, *, name, is_cached=False):
    config, section = context.stage, _section(context)
    source = teachers.find(context)
    student, teacher = _student(context), _teacher(source, config.model)
    if section.teacher and context.vocab.hash:
        workdir.check_vocabulary(section.teacher, context.vocab, "config.transfer.teacher")
    teacher = teacher_outputs.cached() if is_cached else teacher
    if name in ("progressive", "joint"):
        active = _active(config) if name == "progressive" else None
        return tasks.layer_transfer(student, teacher, section.terms, active=active)
    return tasks.distillation(
        student, teacher, section.terms,
        hard=section.hard, temperature=section.temperature,
        auxiliary=name == "auxiliary", next_sentence=config.model.next_sentence,
    )  # fmt: skip


def _section(context):
    """The recipe section `transfer`, a `TransferConfig`."""
    return context.settings.sections["transfer"]


def _student(context):
    model = context.stage.model
    return tasks.Student(
        with_hook=mobilebert.with_hook(model),
        plain=stages.masked_lm(context),
        prepare_held_out=stages.held_out_masked_lm(context).prepare,
        num_layers=model.num_layers,
        pad_id=model.pad_id,
    )


def _teacher(source, student):
    model = dataclasses.replace(source.model, remat="none")  # it has no backward pass
    copying.check(student.sizes(), model.sizes())
    layers = copying.layer_map(student.num_layers, model.num_layers)
    return teacher_outputs.live(mobilebert.network(model), mobilebert.maps(model), layers)


def _phases(config):
    layers = config.model.num_layers
    steps = schedule.phase_steps(config.steps, layers)
    return dict(start=config.start, steps_per_layer=steps, num_layers=layers)


def _active(config):
    return functools.partial(schedule.active_layer, **_phases(config))


def _enter(context, optimizer):
    """Continues the student of the stage before, or initialises it from its teacher."""
    if _is_begun(context):
        return stages.grown_from_before(context, optimizer)
    return teachers.begin(
        context.stage.model, teachers.find(context).model, stages.task(context),
        norm=_section(context).embedding_norm, optimizer=optimizer,
    )  # fmt: skip


def _is_begun(context):
    """Whether the stage before trains the same student."""
    return context.previous is not None and context.previous.task in OBJECTIVES


def _optimizer(context, axes, *, name):
    if name in ("distill", "auxiliary"):
        return stages.make_optimizer(context, axes)
    frozen = tuple(module for module in FROZEN if module in axes)
    if name == "joint":
        return stages.make_optimizer(context, axes, frozen=frozen)
    phases = _phases(context.stage)
    factors = schedule.progressive(**phases, below=_section(context).below)
    inner = stages.make_optimizer(
        context, axes, frozen=frozen, factors_by_axis={"layers": factors}
    )
    phases.pop("num_layers")
    return schedule.with_fresh_moments(inner, axes, **phases)


def _flops(context, *, name):
    """Teacher forward, student forward and backward; in phases, up to the active layer."""
    student, teacher = _forward(context, name)
    batch = context.stage.batch
    if name in ("distill", "auxiliary"):
        return batch * (3 * sum(student.values()) + sum(teacher.values()))
    blocks = 3 * student["layers"] + teacher["layers"]
    return batch * (student["embeddings"] + teacher["embeddings"] + blocks)


def _forward(context, name):
    """{part: forward FLOPs of a sequence} of student and teacher, for the parts in use."""
    config, source = context.stage, teachers.find(context)
    max_predictions, depth = (
        config.masking.num_predictions(config.length),
        config.model.num_layers,
    )
    depth_fraction = (depth + 1) / (2 * depth) if name == "progressive" else 1.0
    for model in (config.model, source.model):
        parts = context.family.flops(model, config.length, max_predictions)
        parts["layers"] *= depth_fraction
        if name in ("progressive", "joint"):
            parts = {part: parts[part] for part in ("embeddings", "layers")}
        yield parts


def _targets(context, *, name):
    """Targets to cache: maps of the active layer or of all layers, or the top soft labels."""
    config, section = context.stage, _section(context)
    model, has_labels = config.model, name in ("distill", "auxiliary")
    layers = dict(progressive=1, distill=0).get(name, model.num_layers)
    fields = teacher_outputs.fields(
        model, layers=layers, length=config.length,
        max_predictions=config.masking.num_predictions(config.length),
        dtype=section.cache_dtype, attention=section.attention > 0,
        top_k=section.cache_top_k if has_labels else 0,
    )  # fmt: skip
    is_phased = name == "progressive"
    teacher = _teacher(teachers.find(context), model)
    _, forward = _forward(context, name)
    return Targets(
        fields=fields,
        make=teacher_outputs.targets(teacher, fields, _active(config) if is_phased else None),
        task=_task(context, name=name, is_cached=True),
        phases=model.num_layers if is_phased else 1,
        depends=dict(
            teacher_dtype=section.teacher_dtype,
            num_layers=model.num_layers,
            fields={key: [shape, str(dtype)] for key, (shape, dtype) in fields.items()},
        ),
        flops=config.batch * sum(forward.values()),
    )


def _frozen(context):
    frozen = teachers.frozen(teachers.find(context), _section(context).teacher_dtype)
    return frozen._replace(at_entry=not _is_begun(context))


def _remarks(context, *, name):
    yield "a teacher works forwards only, and its frozen weights have no gradients or moments"
    if name == "progressive":
        depth = context.stage.model.num_layers
        yield (
            "in layer phases both networks end at the active layer, which spares "
            f"{(depth - 1) / (2 * depth):.0%} of the blocks; a step costs the mean over phases"
        )


def _objective(name):
    return Objective(
        task=functools.partial(_task, name=name),
        enter=_enter,
        optimizer=functools.partial(_optimizer, name=name),
        flops=functools.partial(_flops, name=name),
        frozen=_frozen,
        targets=functools.partial(_targets, name=name),
        remarks=functools.partial(_remarks, name=name),
    )


OBJECTIVES = {
    name: _objective(name) for name in ("progressive", "joint", "distill", "auxiliary")
}
