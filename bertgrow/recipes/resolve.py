"""Converts the ConfigDict of a recipe to frozen dataclasses and checks every field."""

import ml_collections

from bertgrow.core import fields
from bertgrow.core.errors import InputError
from bertgrow.core.fields import nearest
from bertgrow.models import families
from bertgrow.objectives import stages
from bertgrow.recipes import optimization
from bertgrow.recipes.schema import (
    SECTIONS,
    STAGED,
    GrowthConfig,
    MaskingConfig,
    RunConfig,
    StageConfig,
)


def resolve(recipe, *, vocab=None, pinned=None):
    """Checks a recipe and returns it as a `RunConfig`.

    Args:
      recipe: ConfigDict of `recipe.pretraining`.
      vocab: `Vocab` of the store, which the model must match; its size replaces a size of 0
        in the recipe.
      pinned: teacher checkpoints pinned at an earlier start of this run, see
        `workdir.pinned_teachers`.

    Raises:
      InputError: a field is unknown, missing or invalid; the message names the field, its
        value and the expected values.
    """
    recipe = plain(_dict(recipe, "the recipe"))
    name = _dict(recipe.get("model", {}), "config.model").get("family", "bert")
    family = families.find(name)
    own, kinds = fields.options(RunConfig), optimization.CHOICES
    known = {*own, *SECTIONS, *STAGED, *kinds, "model", "stages"}
    _refuse_unknown(recipe, known | set(family.sections), "config")
    for missing in sorted(known - set(recipe)):
        raise InputError(f"config.{missing} is missing; start from recipe.pretraining()")
    own = {name: recipe[name] for name in own}
    fields.check(RunConfig, own, "config")
    fields.check(StageConfig, {name: recipe[name] for name in STAGED}, "config")
    sections = _sections(family.sections, recipe)
    recipe["stages"] = family.stages(recipe | dict(stages=_stage_dicts(recipe["stages"])))
    for kind in kinds:  # also where every stage has its own
        _named(recipe[kind], kind, f"config.{kind}")
    run = RunConfig(
        **_sections(SECTIONS, recipe),
        **own,
        family=name,
        stages=_stages(recipe, family, vocab),
        sections=sections,
        recipe=recipe,
        pinned=pinned or {},
    )
    _check(run)
    return run


def plain(recipe):
    """Converts a recipe to nested dicts and lists, as stored in config.json."""
    if isinstance(recipe, ml_collections.ConfigDict | dict):
        return {name: plain(value) for name, value in recipe.items()}
    if isinstance(recipe, list | tuple):
        return [plain(value) for value in recipe]
    return recipe


def _refuse_unknown(values, known, path):
    for name in values:
        if name not in known:
            raise InputError(f"{path}.{name} is no field of a recipe; {nearest(name, known)}")


def _dict(values, path):
    if not isinstance(values, dict | ml_collections.ConfigDict):
        raise InputError(f"{path} is {values!r}; expected a dict of its fields")
    return values


def _stage_dicts(stages):
    if not isinstance(stages, list) or not stages:
        raise InputError(
            f"config.stages is {stages!r}; expected at least one stage, e.g. "
            "recipe.stages(dict(steps=1000))"
        )
    return [_dict(stage, f"config.stages[{index}]") for index, stage in enumerate(stages)]


def _sections(classes, recipe):
    return {
        name: fields.make(cls, _dict(recipe.get(name, {}), path := f"config.{name}"), path)
        for name, cls in classes.items()
    }


def _named(values, kind, path):
    """Makes the dataclass of the optimizer or schedule with the name in `values`."""
    choices, name = optimization.CHOICES[kind], _dict(values, path).get("name")
    if name not in list(choices):  # the name may be of a type that a dict cannot look up
        raise InputError(f"{path}.name is {name!r}; expected one of {', '.join(choices)}")
    return fields.make(choices[name], values, path)


def _stages(recipe, family, vocab):
    base = {name: value for name, value in recipe["model"].items() if name != "family"}
    fields.check(family.config, base, "config.model")
    base = _fit(base, vocab, recipe["data"].get("vocab_size"))
    resolved, start = [], 0
    for index, values in enumerate(recipe["stages"]):
        stage = _stage(values, base, recipe, family, index, start)
        resolved.append(stage)
        start = stage.end
    return tuple(resolved)


def _fit(model, vocab, planned):
    """Sets the vocabulary size of the model: that of the store, or the planned one."""
    if vocab is None:
        return model | dict(vocab_size=model.get("vocab_size") or planned)
    size = model.get("vocab_size") or vocab.size
    if size != vocab.size:
        raise InputError(
            f"config.model.vocab_size is {size}, the store's vocabulary has {vocab.size} "
            "tokens; set it to 0 to take the store's, or prepare another store"
        )
    return model | dict(vocab_size=size, pad_id=vocab.pad_id)


def _stage(values, base, recipe, family, index, start):
    path = f"config.stages[{index}]"
    known = fields.options(StageConfig)
    names = [*known, "grow", "masking", *optimization.CHOICES, *fields.options(family.config)]
    _refuse_unknown(values, names, path)
    own = {name: values[name] for name in known if name in values}
    fields.check(StageConfig, own, path)
    if "steps" not in own:
        raise InputError(f"{path}.steps is missing; expected {known['steps'].expected()}")
    own = {name: recipe[name] for name in STAGED} | own
    task = own.setdefault("task", known["task"].default)
    if task not in (objectives := [*stages.OBJECTIVES, *family.objectives]):
        raise InputError(f"{path}.task is {task!r}; {nearest(task, objectives)}")
    chosen = {
        kind: _named(values[kind], kind, f"{path}.{kind}")
        if kind in values
        else _named(recipe[kind], kind, f"config.{kind}")
        for kind in optimization.CHOICES
    }
    model = _model(family.config, base, values, path)
    if own["length"] > model.max_length:
        raise InputError(
            f"{path}.length is {own['length']}, above the position table of "
            f"{model.max_length} positions; raise config.model.max_length or shorten the stage"
        )
    grow = _grow(values, recipe, index, f"{path}.grow")
    masking = _masking(values, recipe, f"{path}.masking")
    return StageConfig(
        name=str(index), model=model, start=start, grow=grow, masking=masking, **chosen, **own
    )


def _model(cls, base, values, path):
    """Makes the model config of a stage: that of the recipe with fields of the stage."""
    overlay = {name: value for name, value in values.items() if name in fields.options(cls)}
    fields.check(cls, overlay, path)
    model = cls(**base | overlay)
    try:
        model.check()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return model


def _grow(values, recipe, index, path):
    """Growth options of a stage: `config.growth`, overridden by `grow` of the stage."""
    own = _dict(values.get("grow", {}), path)
    if own and not index:
        raise InputError(
            f"{path}: the first stage has no previous stage to grow from; "
            "move it to a later one"
        )
    fields.check(GrowthConfig, own, path)
    return fields.make(GrowthConfig, {**recipe["growth"], **own}, "config.growth")


def _masking(values, recipe, path):
    """Training masks of a stage: `config.masking`, overridden by `masking` of the stage."""
    own = _dict(values.get("masking", {}), path)
    fields.check(MaskingConfig, own, path)
    return fields.make(MaskingConfig, {**recipe["masking"], **own}, "config.masking")


def _check(run):
    """Checks fields that depend on one another."""
    if run.model.next_sentence and run.data.rows != "pairs":
        raise InputError(
            "config.model.next_sentence needs pairs of segments; set config.data.rows='pairs' "
            "or config.model.next_sentence=False"
        )
    for stage in run.stages:
        if stage.batch % run.accumulate:
            raise InputError(
                f"stage {stage.name}: batch {stage.batch} is not divisible by "
                f"config.accumulate {run.accumulate}; change one of the two"
            )
        if stage.batch * stage.length > fields.LARGEST:
            raise InputError(
                f"stage {stage.name}: batch {stage.batch} x length {stage.length} is more "
                f"tokens than an array holds ({fields.LARGEST:,}); change one of the two"
            )
    _check_clock(run)


def _check_clock(run):
    """Checks `grow.rewind`: at most back to the start of a schedule, never for `published`."""
    for index, stage in enumerate(run.stages):
        course = stages.course(run.stages, index)
        rewind, since = stages.rewound(course, stage), stage.start - course[0].start
        if rewind > since:
            raise InputError(
                f"stage {stage.name} starts at step {since} of its schedule, which is "
                f"rewound by {rewind} steps in all; lower grow.rewind so that the sum is at "
                f"most {since}"
            )
        if rewind and stage.schedule.name == "published":
            raise InputError(
                "config.schedule 'published' starts again in every stage and cannot be "
                "rewound; set grow.rewind to 0, or choose linear or wsd"
            )
