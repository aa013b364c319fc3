"""Helpers for recipes: each returns a piece of a ConfigDict, so a recipe reads as a short page.

A recipe is a Python file with `get_config(variant="")`; it may be copied anywhere.
"""

import ml_collections

from bertgrow.errors import InputError

ConfigDict = ml_collections.ConfigDict


def pretraining(seed=0):
    """The skeleton of a pre-training run; `model`, `optimizer` and `stages` are to be set."""
    return ConfigDict(
        dict(
            seed=seed,
            model=bert(),
            data=dict(
                store="",  # one store, or several joined by commas; empty: see `vocab_size`
                weights="",  # share of each store's rows, joined by commas; empty: equal
                rows="packed",  # packed: full sentences | pairs: next-sentence pairs
                vocab_size=0,  # pieces of the store that a run without one makes; 0: refuse
                workers=0,  # worker processes that make rows; 0: in the training process
                mask_epochs=0,  # after so many, rows and masks repeat; 0: they never do
            ),
            masking=dict(
                rate=0.15,
                max_predictions=0,  # slots a row; 0: BERT's 20 at 128 and 76 at 512
                whole_word=False,
            ),
            batch=256,  # global rows a step
            accumulate=1,  # slices that a batch is cut into, one after another
            length=512,  # tokens a row
            optimizer=adamw(),
            schedule=linear(),
            stages=stages(),
            growth=dict(  # a stage overrides it by grow=dict(...)
                width="uneven",  # or another of docs/operators.md, e.g. equal | fpi | sparkling
                depth="stack",  # or another of docs/operators.md, e.g. interleave | midas
                moments="reset",  # reset | copy | exact | asymmetric, or one a dimension
                counts="auto",  # keep | reset; auto: as the moments
                rewarmup_new=0,  # steps until new units and layers learn at the full rate
                ramp=0,  # steps until msg has let in what is new
                rewind=0,  # steps by which the schedule's clock goes back at a growth
                on_broken_claim="stop",  # stop | warn
            ),
            mesh=dict(data=-1, fsdp=1, tensor=1),  # -1: all devices that are left
            eval=dict(every=1000, rows=512),
            checkpoint=dict(every=1000, keep=2),
            log_every=100,
            init_from="",  # a workdir whose weights to start from
        )
    )


def bert(**fields):
    """BERT-base unless told otherwise; the fields are those of `BertConfig`."""
    model = dict(
        family="bert",
        vocab_size=30522,  # 0: whatever the store has
        num_layers=12,
        width=768,
        num_heads=12,
        ffn_width=3072,
        ffn_share=1,  # k: the FFN is one block shared k times
        ffn_rank=0,  # FFN matrices as products of two through this many; 0: whole
        light_every=0,  # each such layer attends as the one before it; 0: none
        pool=1,  # window over the embeddings of unmasked tokens
        pool_mode="mean",  # mean | max | concat
        max_length=512,  # rows of the position table
        num_types=2,
        norm_order="post",  # post | pre
        activation="gelu",  # gelu | gelu_tanh | relu
        dropout=0.1,
        attention_dropout=0.1,
        positions_init="normal",  # normal | sinusoids
        next_sentence=False,
        dtype="auto",  # auto: float32 on CPU, bfloat16 elsewhere
        remat="none",  # none | dots | full
        init_scale=0.02,
        frozen_layers=0,  # lowest layers that do not learn, nor do the embeddings
    )
    return ConfigDict(_overlay(model, fields))


def adamw(**fields):
    """AdamW with decoupled weight decay, by default as in Devlin et al. (2019)."""
    return _optimizer("adamw", fields)


def lamb(**fields):
    """LAMB (You et al., 2020), one trust ratio for each layer slice of a stacked weight."""
    return _optimizer("lamb", fields)


def _optimizer(name, fields):
    values = dict(name=name, b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01, clip=1.0)
    values["bias_correction"] = True
    return ConfigDict(_overlay(values, fields))


def linear(**fields):
    """`peak (1 - s/S) min(1, (s - s_k)/w_k)`: one decay over the run, a warm-up a stage."""
    return _schedule("linear", dict(peak=1e-4, warmup=10_000, rewarmup=10_000), fields)


def published(**fields):
    """Each stage starts again, as in the published code; see compoundgrow in docs/papers.md."""
    again = fields.get("warmup", 10_000)
    values = dict(peak=1e-4, warmup=10_000, rewarmup=again, end=0.0, decay_steps=1_000_000)
    return _schedule("published", values, fields)


def constant(peak):
    """The same rate at every step: `published` that ends where it begins."""
    return published(peak=peak, end=peak, warmup=0, decay_steps=1)


def wsd(**fields):
    """Warm-up, stable, decay over the whole run; `decay` is the share of steps at the end."""
    return _schedule("wsd", dict(peak=1e-4, warmup=10_000, rewarmup=0, decay=0.2), fields)


def _schedule(name, values, fields):
    return ConfigDict(_overlay(dict(name=name, **values), fields))


def stages(*fields):
    """The stages in order; each lays its fields over `model`, `batch` and `length`.

    A list of ConfigDicts, since a ConfigDict would sort named stages alphabetically.
    """
    return tuple(ConfigDict(stage) for stage in fields)


def _overlay(values, fields):
    unknown = sorted(set(fields) - set(values))
    if unknown:
        raise TypeError(f"unknown field {unknown[0]!r}; the fields are {', '.join(values)}")
    return {**values, **fields}


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
