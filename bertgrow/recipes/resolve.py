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


def resolve(recipe, *, vocab=None, lent=None):
    """Checks a recipe and returns it as a `RunConfig`.

    Args:
      recipe: ConfigDict of `recipe.pretraining`.
      vocab: `Vocab` of the store, which the model must match; its size replaces a size of 0
        in the recipe.
      lent: teacher checkpoints pinned at an earlier start of this run, see `workdir.lent`.

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
        lent=lent or {},
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


def _refuse_unknown(given, known, where):
    for name in given:
        if name not in known:
            raise InputError(f"{where}.{name} is no field of a recipe; {nearest(name, known)}")


def _dict(given, where):
    if not isinstance(given, dict | ml_collections.ConfigDict):
        raise InputError(f"{where} is {given!r}; expected a dict of its fields")
    return given


def _stage_dicts(given):
    if not isinstance(given, list) or not given:
        raise InputError(
            f"config.stages is {given!r}; expected at least one stage, e.g. "
            "recipe.stages(dict(steps=1000))"
        )
    return [_dict(stage, f"config.stages[{index}]") for index, stage in enumerate(given)]


def _sections(classes, recipe):
    return {
        name: fields.make(cls, _dict(recipe.get(name, {}), where := f"config.{name}"), where)
        for name, cls in classes.items()
    }


def _named(given, kind, where):
    """Makes the dataclass of the optimizer or schedule with the name in `given`."""
    choices, name = optimization.CHOICES[kind], _dict(given, where).get("name")
    if name not in list(choices):  # the name may be of a type that a dict cannot look up
        raise InputError(f"{where}.name is {name!r}; expected one of {', '.join(choices)}")
    return fields.make(choices[name], given, where)


def _stages(recipe, family, vocab):
    base = {name: value for name, value in recipe["model"].items() if name != "family"}
    fields.check(family.config, base, "config.model")
    base = _fit(base, vocab, recipe["data"].get("vocab_size"))
    found, start = [], 0
    for index, given in enumerate(recipe["stages"]):
        stage = _stage(given, base, recipe, family, index, start)
        found.append(stage)
        start = stage.end
    return tuple(found)


def _fit(model, vocab, planned):
    """Sets the vocabulary size of the model: that of the store, or the planned one."""
    if vocab is None:
        return model | dict(vocab_size=model.get("vocab_size") or planned)
    size = model.get("vocab_size") or vocab.size
    if size != vocab.size:
        raise InputError(
            f"config.model.vocab_size is {size}, the store's vocabulary has {vocab.size} "
            "pieces; set it to 0 to take the store's, or prepare another store"
        )
    return model | dict(vocab_size=size, pad_id=vocab.pad_id)


def _stage(given, base, recipe, family, index, start):
    where = f"config.stages[{index}]"
    known = fields.options(StageConfig)
    names = [*known, "grow", "masking", *optimization.CHOICES, *fields.options(family.config)]
    _refuse_unknown(given, names, where)
    own = {name: given[name] for name in known if name in given}
    fields.check(StageConfig, own, where)
    if "steps" not in own:
        raise InputError(f"{where}.steps is missing; expected {known['steps'].expected()}")
    own = {name: recipe[name] for name in STAGED} | own
    task = own.setdefault("task", known["task"].default)
    if task not in (objectives := [*stages.OBJECTIVES, *family.objectives]):
        raise InputError(f"{where}.task is {task!r}; {nearest(task, objectives)}")
    chosen = {
        kind: _named(given[kind], kind, f"{where}.{kind}")
        if kind in given
        else _named(recipe[kind], kind, f"config.{kind}")
        for kind in optimization.CHOICES
    }
    model = _model(family.config, base, given, where)
    if own["length"] > model.max_length:
        raise InputError(
            f"{where}.length is {own['length']}, above the position table of "
            f"{model.max_length} rows; raise config.model.max_length or shorten the stage"
        )
    grow = _grow(given, recipe, index, f"{where}.grow")
    masking = _masking(given, recipe, f"{where}.masking")
    return StageConfig(
        name=str(index), model=model, start=start, grow=grow, masking=masking, **chosen, **own
    )


def _model(cls, base, given, where):
    """Makes the model config of a stage: that of the recipe with fields of the stage."""
    overlay = {name: value for name, value in given.items() if name in fields.options(cls)}
    fields.check(cls, overlay, where)
    model = cls(**base | overlay)
    try:
        model.check()
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return model


def _grow(given, recipe, index, where):
    """Growth options of a stage: `config.growth`, overridden by `grow` of the stage."""
    own = _dict(given.get("grow", {}), where)
    if own and not index:
        raise InputError(
            f"{where}: the first stage grows out of nothing; move it to a later one"
        )
    fields.check(GrowthConfig, own, where)
    return fields.make(GrowthConfig, {**recipe["growth"], **own}, "config.growth")


def _masking(given, recipe, where):
    """Training masks of a stage: `config.masking`, overridden by `masking` of the stage."""
    own = _dict(given.get("masking", {}), where)
    fields.check(MaskingConfig, own, where)
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
        behind, since = stages.rewound(course, stage), stage.start - course[0].start
        if behind > since:
            raise InputError(
                f"stage {stage.name} starts at step {since} of its schedule with a clock set "
                f"back by {behind} steps in all; lower grow.rewind so that they are at most "
                f"{since}"
            )
        if behind and stage.schedule.name == "published":
            raise InputError(
                "config.schedule 'published' starts again in every stage, so there is nothing "
                "to rewind; set grow.rewind to 0, or choose linear or wsd"
            )
