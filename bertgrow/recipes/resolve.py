"""From a recipe's ConfigDict to frozen dataclasses: unknown fields and bad values end here."""

import dataclasses
import difflib

import ml_collections

from bertgrow import families, stages
from bertgrow.errors import InputError
from bertgrow.recipes.schema import (
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    GrowthConfig,
    MaskingConfig,
    MeshConfig,
    RunConfig,
    StageConfig,
)

_SECTIONS = dict(
    data=DataConfig, masking=MaskingConfig, growth=GrowthConfig, mesh=MeshConfig,
    eval=EvalConfig, checkpoint=CheckpointConfig,
)  # fmt: skip
_PLAIN = ("seed", "accumulate", "log_every", "init_from")
_STAGED = ("batch", "length")
_OVER_STAGES = ("optimizer", "schedule")  # a stage may have its own, whole
_OPTIMIZERS = {
    name: {"name", "b1", "b2", "eps", "weight_decay", "clip", "bias_correction"}
    for name in ("adamw", "lamb")
}
_SCHEDULES = dict(
    linear={"name", "peak", "warmup", "rewarmup"},
    published={"name", "peak", "warmup", "rewarmup", "end", "decay_steps"},
    wsd={"name", "peak", "warmup", "rewarmup", "decay"},
)


def resolve(recipe, *, vocab=None, lent=None):
    """Checks a recipe and returns it as a `RunConfig`.

    Args:
      recipe: ConfigDict of `recipe.pretraining`.
      vocab: the store's `Vocab`, which the model has to fit; its size is taken where the
        recipe says 0.
      lent: what other runs have lent to this one at an earlier start, see `workdir.lent`.

    Raises:
      InputError: names the field, what it holds, and what would do.
    """
    recipe = plain(recipe)
    name = recipe.get("model", {}).get("family", "bert")
    family = families.find(name)
    known = {*_SECTIONS, *_PLAIN, *_STAGED, *_OVER_STAGES, "model", "stages"}
    _refuse_unknown(recipe, known | set(family.sections), "config")
    for missing in sorted(known - set(recipe)):
        raise InputError(f"config.{missing} is missing; start from recipe.pretraining()")
    recipe["stages"] = family.stages(recipe)
    run = RunConfig(
        **_sections(_SECTIONS, recipe),
        **{name: recipe[name] for name in _PLAIN},
        family=name,
        stages=_stages(recipe, family, vocab),
        sections=_sections(family.sections, recipe),
        recipe=recipe,
        lent=lent or {},
    )
    _check(run)
    return run


def plain(recipe):
    """The recipe as nested dicts and lists, as it stands in config.json."""
    if isinstance(recipe, ml_collections.ConfigDict | dict):
        return {name: plain(value) for name, value in recipe.items()}
    if isinstance(recipe, list | tuple):
        return [plain(value) for value in recipe]
    return recipe


def nearest(name, names):
    """`, did you mean 'x'?`, or the list of names where none is near."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(names))}"


def _refuse_unknown(given, known, where):
    for name in given:
        if name not in known:
            raise InputError(f"{where}.{name} is no field of a recipe; {nearest(name, known)}")


def _sections(classes, recipe):
    return {name: _section(cls, recipe.get(name, {}), name) for name, cls in classes.items()}


def _section(cls, given, where):
    fields = {f.name: f.type for f in dataclasses.fields(cls)}
    _refuse_unknown(given, fields, f"config.{where}")
    for name, value in given.items():
        _check_type(value, fields[name], f"config.{where}.{name}")
    return cls(**given)


def _check_type(value, expected, where):
    kinds = {float: (int, float)}.get(expected, expected)
    if isinstance(value, bool) and expected is not bool or not isinstance(value, kinds):
        names = getattr(expected, "__name__", expected)
        raise InputError(f"{where} is {value!r}; expected {names}")


def _named(given, choices, where):
    name = given.get("name")
    if name not in choices:
        raise InputError(f"{where}.name is {name!r}; {nearest(str(name), choices)}")
    _refuse_unknown(given, choices[name], where)
    return given


def _stages(recipe, family, vocab):
    base = {name: value for name, value in recipe["model"].items() if name != "family"}
    known = {f.name for f in dataclasses.fields(family.config)}
    _refuse_unknown(base, known, "config.model")
    base = _fit(base, vocab, recipe["data"].get("vocab_size"))
    if not recipe["stages"]:
        raise InputError("config.stages is empty; give at least one, e.g. dict(steps=1000)")
    found, start = [], 0
    for index, given in enumerate(recipe["stages"]):
        where = f"config.stages[{index}]"
        own = {"steps", "grow", "task", *_STAGED, *_OVER_STAGES}
        _refuse_unknown(given, known | own, where)
        stage = _stage(given, base, recipe, family, index, start)
        found.append(stage)
        start = stage.end
    return tuple(found)


def _fit(model, vocab, planned):
    """The model with the store's vocabulary, or the one that its store will have."""
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
    counts = {name: given.get(name, recipe.get(name)) for name in ("steps", *_STAGED)}
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{where}.{name} is {value!r}; expected a whole number above 0")
    grow = _grow(given, recipe, index, f"{where}.grow")
    task = given.get("task", "masked_lm")
    if task not in (known := [*stages.OBJECTIVES, *family.objectives]):
        raise InputError(f"{where}.task is {task!r}; {nearest(str(task), known)}")
    named = {
        name: _named(given[name], choices, f"{where}.{name}")
        if name in given
        else _named(recipe[name], choices, f"config.{name}")
        for name, choices in (("optimizer", _OPTIMIZERS), ("schedule", _SCHEDULES))
    }
    own = {"grow", "task", *named, *counts}
    overlay = {k: value for k, value in given.items() if k not in own}
    model = _section(family.config, {**base, **overlay}, f"stages[{index}]")
    try:
        model.check()
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if counts["length"] > model.max_length:
        raise InputError(
            f"{where}.length is {counts['length']}, above the position table of "
            f"{model.max_length} rows; raise config.model.max_length or shorten the stage"
        )
    return StageConfig(
        name=str(index), model=model, start=start, task=task, grow=grow, **named, **counts
    )


def _grow(given, recipe, index, where):
    """How a stage grows out of the one before: `config.growth` under the stage's `grow`."""
    own = given.get("grow", {})
    if not isinstance(own, dict):
        raise InputError(f"{where} is {own!r}; expected fields, e.g. dict(width='fpi')")
    if own and not index:
        raise InputError(
            f"{where}: the first stage grows out of nothing; move it to a later one"
        )
    rules = _section(GrowthConfig, {**recipe["growth"], **own}, where.removeprefix("config."))
    rules.check(where if own else "config.growth")
    return rules


def _check(run):
    if run.data.rows not in ("packed", "pairs"):
        raise InputError(f"config.data.rows is {run.data.rows!r}; expected packed or pairs")
    if run.model.next_sentence and run.data.rows != "pairs":
        raise InputError(
            "config.model.next_sentence needs pairs of segments; set config.data.rows='pairs' "
            "or config.model.next_sentence=False"
        )
    if run.data.mask_epochs < 0:
        raise InputError(
            f"config.data.mask_epochs is {run.data.mask_epochs}; expected 0 (rows and masks "
            "never repeat) or after how many epochs they do"
        )
    if not 0 < run.masking.rate < 1:
        raise InputError(f"config.masking.rate is {run.masking.rate}; expected between 0 and 1")
    for stage in run.stages:
        if stage.batch % run.accumulate:
            raise InputError(
                f"stage {stage.name}: batch {stage.batch} is not divisible by "
                f"config.accumulate {run.accumulate}; change one of the two"
            )
    _check_clock(run)
    for section, name in (("eval", "every"), ("eval", "rows"), ("checkpoint", "every")):
        if getattr(getattr(run, section), name) < 1:
            raise InputError(f"config.{section}.{name} must be at least 1")


def _check_clock(run):
    """The schedule's clock can be set back to its start, and only where it has one."""
    for index, stage in enumerate(run.stages):
        course = stages.course(run.stages, index)
        behind, since = stages.rewound(course, stage), stage.start - course[0].start
        if behind > since:
            raise InputError(
                f"stage {stage.name} starts at step {since} of its schedule with a clock set "
                f"back by {behind} steps in all; lower grow.rewind so that they are at most "
                f"{since}"
            )
        if behind and stage.schedule["name"] == "published":
            raise InputError(
                "config.schedule 'published' starts again in every stage, so there is nothing "
                "to rewind; set grow.rewind to 0, or choose linear or wsd"
            )
