"""Functions to write a recipe; each returns a part of its ConfigDict.

A recipe is a Python file with `get_config(variant="")`. It works from any folder.

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
    """Pre-training recipe of BERT-base; set its `model`, `optimizer` and `stages`."""
    staged = {name: fields.defaults(schema.StageConfig)[name] for name in schema.STAGED}
    sections = {name: section(cls) for name, cls in schema.SECTIONS.items()}
    return ConfigDict(
        fields.defaults(schema.RunConfig) | staged | sections | dict(
            seed=seed, model=bert(), optimizer=adamw(), schedule=linear(), stages=stages()
        )
    )  # fmt: skip


def section(cls, /, **overrides):
    """Fields of the dataclass `cls` with their defaults, overridden by `overrides`."""
    known = fields.options(cls)
    for name in overrides:
        if name not in known:
            raise TypeError(f"unknown field {name!r}; the fields are {', '.join(known)}")
    return ConfigDict(fields.defaults(cls) | overrides)


def model(family, /, **overrides):
    """Config of a model of a family, e.g. "bert", with defaults overridden by `overrides`."""
    config = section(families.find(family).config, **overrides)
    return ConfigDict(dict(family=family, **config))


def bert(**overrides):
    """BERT-base, with fields of `BertConfig` overridden by `overrides`."""
    return model("bert", **overrides)


def adamw(**overrides):
    """AdamW optimizer, see `optimization.AdamW`."""
    return section(optimization.AdamW, **overrides)


def lamb(**overrides):
    """LAMB optimizer, see `optimization.Lamb`."""
    return section(optimization.Lamb, **overrides)


def linear(**overrides):
    """Linear decay schedule, see `optimization.Linear`."""
    return section(optimization.Linear, **overrides)


def published(**overrides):
    """Schedule `optimization.Published`; `rewarmup` equals `warmup` by default."""
    rewarmup = overrides.get("warmup", optimization.Published.warmup)
    return section(optimization.Published, **{"rewarmup": rewarmup, **overrides})


def constant(peak):
    """Constant learning rate: `published` with equal first and last values."""
    return published(peak=peak, end=peak, warmup=0, decay_steps=1)


def wsd(**overrides):
    """Warm-up, stable, decay schedule, see `optimization.Wsd`."""
    return section(optimization.Wsd, **overrides)


def stages(*configs):
    """Makes the stages, in order; each overrides fields of `model`, `batch` and `length`.

    The result is a tuple, because a ConfigDict would sort named stages alphabetically.
    """
    return tuple(ConfigDict(stage) for stage in configs)


def choose(variant, options):
    """Returns `options[variant]`; InputError if there is no such variant of the recipe."""
    if variant not in options:
        known = ", ".join(name or "none" for name in options)
        raise InputError(f"--config: variant {variant!r} of a recipe; expected {known}")
    return options[variant]


def sized(config, variant, **sizes):
    """Applies the function in `sizes` that the variant names; no variant: no change."""
    return choose(variant, {"": lambda config: config} | sizes)(config)


def fast(config):
    """Sets attention dropout to 0, with which attention kernels can compute.

    The published recipes have 0.1, which no kernel has.
    """
    config.model.attention_dropout = 0.0
    return config


def smoke(config):
    """Shrinks a recipe to train for a minute on two cores, on the default corpus.

    Widths, depths and lengths are reduced so that every transition of the recipe remains.
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
