"""Functions that a recipe is written with: each returns a piece of a ConfigDict.

A recipe is a Python file with `get_config(variant="")`; it may be copied anywhere.

    from bertgrow.recipes import build as recipe

Fields and defaults are those of the dataclasses in `schema`, `optimization` and of the model
family; docs/recipes.md lists them.
"""

import ml_collections

from bertgrow.core import fields
from bertgrow.core.errors import InputError
from bertgrow.models import families
from bertgrow.recipes import optimization, schema

ConfigDict = ml_collections.ConfigDict


def pretraining(seed=0):
    """A pre-training run of BERT-base; `model`, `optimizer` and `stages` are to be set."""
    staged = {name: fields.defaults(schema.StageConfig)[name] for name in schema.STAGED}
    sections = {name: section(cls) for name, cls in schema.SECTIONS.items()}
    return ConfigDict(
        fields.defaults(schema.RunConfig) | staged | sections | dict(
            seed=seed, model=bert(), optimizer=adamw(), schedule=linear(), stages=stages()
        )
    )  # fmt: skip


def section(cls, /, **given):
    """The fields that the dataclass `cls` declares, by default but for the `given` ones."""
    known = fields.options(cls)
    for name in given:
        if name not in known:
            raise TypeError(f"unknown field {name!r}; the fields are {', '.join(known)}")
    return ConfigDict(fields.defaults(cls) | given)


def model(family, /, **given):
    """A model of a family, e.g. "bert": the fields of its configuration."""
    made = section(families.find(family).config, **given)
    return ConfigDict(dict(family=family, **made))


def bert(**given):
    """BERT-base but for the `given` fields of `BertConfig`."""
    return model("bert", **given)


def adamw(**given):
    """`optimization.AdamW`."""
    return section(optimization.AdamW, **given)


def lamb(**given):
    """`optimization.Lamb`."""
    return section(optimization.Lamb, **given)


def linear(**given):
    """`optimization.Linear`."""
    return section(optimization.Linear, **given)


def published(**given):
    """`optimization.Published`; `rewarmup` is by default as long as `warmup`."""
    again = given.get("warmup", optimization.Published.warmup)
    return section(optimization.Published, **{"rewarmup": again, **given})


def constant(peak):
    """The same rate at every step: `published` that ends where it begins."""
    return published(peak=peak, end=peak, warmup=0, decay_steps=1)


def wsd(**given):
    """`optimization.Wsd`."""
    return section(optimization.Wsd, **given)


def stages(*given):
    """The stages in order; each lays its fields over `model`, `batch` and `length`.

    A list of ConfigDicts, since a ConfigDict would sort named stages alphabetically.
    """
    return tuple(ConfigDict(stage) for stage in given)


def choose(variant, options):
    """`options[variant]`, by the name behind a recipe's colon; InputError for another one."""
    if variant not in options:
        known = ", ".join(name or "none" for name in options)
        raise InputError(f"--config: variant {variant!r} of a recipe; expected {known}")
    return options[variant]


def sized(config, variant, **sizes):
    """The recipe as it is, or by the function in `sizes` that the variant names."""
    return choose(variant, {"": lambda config: config} | sizes)(config)


def smoke(config):
    """The same stages, small enough for a minute on two cores, on the default corpus.

    Widths, depths and lengths shrink so that every transition of the recipe still happens.
    """
    config = config.copy_and_resolve_references()
    full_layers = config.model.num_layers
    config.model.update(
        vocab_size=0, num_layers=4, width=64, num_heads=4, ffn_width=256, max_length=64,
        positions_init="sinusoids",
    )  # fmt: skip
    config.data.vocab_size = 1000
    config.update(batch=32, length=64, log_every=10)
    config.schedule.update(peak=1e-3, warmup=10)
    if "rewarmup" in config.schedule:
        config.schedule.rewarmup = 5
    config.growth.rewind = min(config.growth.rewind, 10)
    config.eval.update(every=30, rows=64)
    config.checkpoint.every = 20
    config.stages = tuple(_smoke_stage(stage, full_layers) for stage in config.stages)
    return config


def _smoke_stage(stage, full_layers):
    small = ConfigDict(stage.to_dict())
    small.steps = 30
    if "rewind" in small.get("grow", {}):
        small.grow.rewind = min(small.grow.rewind, 10)
    if "num_layers" in small:
        small.num_layers = max(1, 4 * small.num_layers // full_layers)
    if "length" in small:
        small.length = 64 if small.length >= 512 else 32
    return small
