"""Objectives of distillation stages: tasks, initial state, optimizer and FLOPs.

Task names in a recipe: `progressive` and `joint` transfer layers and are followed by
`distill`; `auxiliary` does both at once (PKT, JKT, AKT of Sun et al., 2020, figure 2).
"""

import dataclasses
import functools

from bertgrow.core.types import Objective, Targets
from bertgrow.objectives import stages
from bertgrow.run import workdir
from mobilebert.distill import copying, schedule, targets, tasks, teacher_outputs, teachers
from mobilebert.models import mobilebert

STILL = ("embeddings", "mlm", "nsp", "pooler")  # modules that layer transfer does not train


def _task(family, settings, index, vocab, *, name, is_cached=False):
    config, section = settings.stages[index], settings.sections["transfer"]
    source = teachers.find(settings, index)
    student, teacher = _student(family, settings, index, vocab), _teacher(source, config.model)
    if section.teacher and vocab.hash:
        workdir.check_vocabulary(section.teacher, vocab, "config.transfer.teacher")
    teacher = teacher_outputs.cached() if is_cached else teacher
    if name in ("progressive", "joint"):
        active = _active(config) if name == "progressive" else None
        return tasks.layer_transfer(student, teacher, section.terms, active=active)
    return tasks.distillation(
        student, teacher, section.terms,
        hard=section.hard, temperature=section.temperature,
        auxiliary=name == "auxiliary", next_sentence=config.model.next_sentence,
    )  # fmt: skip


def _student(family, settings, index, vocab):
    config = settings.stages[index]
    plain = stages.OBJECTIVES["masked_lm"].task(family, settings, index, vocab)
    held_out = stages.held_out_masked_lm(family, settings, index, vocab)
    return tasks.Student(
        watched=mobilebert.watched(config.model),
        plain=plain,
        prepare_held_out=held_out.prepare,
        num_layers=config.model.num_layers,
        pad_id=config.model.pad_id,
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


def _enter(family, settings, index, vocab, optimizer):
    """Continues the student of the stage before, or initialises it from its teacher."""
    config, section = settings.stages[index], settings.sections["transfer"]
    if _is_begun(settings, index):
        return stages.grown_from_before(family, settings, index, vocab, optimizer)
    return teachers.begin(
        config.model, teachers.find(settings, index).model,
        stages.task(settings, family, vocab, index),
        norm=section.embedding_norm, optimizer=optimizer,
    )  # fmt: skip


def _is_begun(settings, index):
    """Whether the stage before trains the same student."""
    return index > 0 and settings.stages[index - 1].task in OBJECTIVES


def _optimizer(family, settings, index, axes, *, name):
    del family
    config, section = settings.stages[index], settings.sections["transfer"]
    if name in ("distill", "auxiliary"):
        return stages.make_optimizer(settings, index, axes)
    still = tuple(module for module in STILL if module in axes)
    if name == "joint":
        return stages.make_optimizer(settings, index, axes, frozen=still)
    phases = _phases(config)
    factors = schedule.progressive(**phases, below=section.below)
    inner = stages.make_optimizer(
        settings, index, axes, frozen=still, rate_by_axis={"layers": factors}
    )
    phases.pop("num_layers")
    return schedule.with_fresh_moments(inner, axes, **phases)


def _flops(family, settings, index, *, name):
    """Teacher forward, student forward and backward; in phases, up to the active layer."""
    ours, theirs = _forward(family, settings, index, name)
    config = settings.stages[index]
    if name in ("distill", "auxiliary"):
        return config.batch * (3 * sum(ours.values()) + sum(theirs.values()))
    blocks = 3 * ours["layers"] + theirs["layers"]
    return config.batch * (ours["embeddings"] + theirs["embeddings"] + blocks)


def _forward(family, settings, index, name):
    """{part: forward FLOPs of a sequence} of student and teacher, for the parts in use."""
    config, source = settings.stages[index], teachers.find(settings, index)
    slots, depth = config.masking.slots(config.length), config.model.num_layers
    share = (depth + 1) / (2 * depth) if name == "progressive" else 1.0
    for model in (config.model, source.model):
        parts = family.flops(model, config.length, slots)
        parts["layers"] *= share
        if name in ("progressive", "joint"):
            parts = {part: parts[part] for part in ("embeddings", "layers")}
        yield parts


def _targets(family, settings, index, vocab, *, name):
    """Targets to cache: maps of the active layer or of all layers, or the top soft labels."""
    config, section = settings.stages[index], settings.sections["transfer"]
    model, has_labels = config.model, name in ("distill", "auxiliary")
    layers = dict(progressive=1, distill=0).get(name, model.num_layers)
    fields = targets.fields(
        model, layers=layers, length=config.length, slots=config.masking.slots(config.length),
        dtype=section.cache_dtype, attention=section.attention > 0,
        top_k=section.cache_top_k if has_labels else 0,
    )  # fmt: skip
    is_phased = name == "progressive"
    teacher = _teacher(teachers.find(settings, index), model)
    _, theirs = _forward(family, settings, index, name)
    return Targets(
        fields=fields,
        make=targets.ask(teacher, fields, _active(config) if is_phased else None),
        task=_task(family, settings, index, vocab, name=name, is_cached=True),
        phases=model.num_layers if is_phased else 1,
        depends=dict(
            teacher_dtype=section.teacher_dtype,
            num_layers=model.num_layers,
            fields={key: [shape, str(dtype)] for key, (shape, dtype) in fields.items()},
        ),
        flops=config.batch * sum(theirs.values()),
    )


def _frozen(family, settings, index):
    del family
    dtype = settings.sections["transfer"].teacher_dtype
    found = teachers.frozen(teachers.find(settings, index), dtype)
    return found._replace(at_entry=not _is_begun(settings, index))


def _remarks(family, settings, index, *, name):
    del family
    yield "a teacher works forwards only, and its frozen weights have no gradients or moments"
    if name == "progressive":
        depth = settings.stages[index].model.num_layers
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
