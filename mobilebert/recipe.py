"""Recipe helpers for teachers and students, in addition to `bertgrow.recipes.build`."""

from bertgrow.recipes import build as recipe
from bertgrow.recipes.build import ConfigDict
from mobilebert.distill.settings import TransferConfig
from mobilebert.models import presets

SHARED = ("vocab_size", "max_length", "positions_init", "init_scale", "dtype", "remat")


def distillation(student, seed=0):
    """Base recipe of a run that ends with a student; the caller sets `stages`.

    Args:
      student: fields of `MobileBertConfig`, e.g. `presets.mobilebert()`.
      seed: seed of the run.
    """
    config = recipe.pretraining(seed=seed)
    config.model = recipe.model("mobilebert", **student)
    config.transfer = recipe.section(TransferConfig)
    config.data.rows = "pairs"
    config.optimizer = recipe.lamb(bias_correction=False)
    config.update(batch=2048, length=512)
    return config


def teacher(**fields):
    """Fields of the stage that trains the teacher, IB-BERT-large by default.

    The fields in `SHARED` keep the student's values. The paper gives 500k steps of 4096
    sequences and LAMB. It does not give the learning rate and the warm-up; here they are those
    of the student (docs/distill.md).
    """
    model = {k: v for k, v in presets.ib_bert_large().items() if k not in SHARED}
    schedule = recipe.published(peak=1.5e-3, warmup=10_000, decay_steps=500_000)
    return dict(task="masked_lm", steps=500_000, batch=4096, schedule=schedule) | model | fields


def progressive(**fields):
    """Fields of layer transfer: 24 phases of 10k steps, at 3 and 0.3 times a fixed rate."""
    return dict(task="progressive", steps=240_000, schedule=recipe.constant(1.5e-3)) | fields


def distill(**fields):
    """Fields of distillation: 500k steps; the learning rate decays to 1/10,000 of its peak."""
    schedule = recipe.published(peak=1.5e-3, end=1.5e-7, warmup=10_000, decay_steps=500_000)
    return dict(task="distill", steps=500_000, schedule=schedule) | fields


def teacher_alone():
    """Recipe that trains only the teacher; other runs name its working directory."""
    config = distillation(presets.ib_bert_large())
    config.stages = recipe.stages(teacher())
    return config


def published(student):
    """Recipe of Sun et al. (2020): teacher, progressive transfer, distillation."""
    config = distillation(student)
    config.stages = recipe.stages(teacher(), progressive(), distill())
    return config


def sized(config, variant):
    """The recipe as published (""), or cut to two minutes ("smoke") or an hour ("small")."""
    return recipe.sized(config, variant, smoke=smoke, small=small)


def smoke(config):
    """Reduces all stages to two minutes on two cores, on the default corpus."""
    config = config.copy_and_resolve_references()
    small = dict(num_layers=4, width=64, table_width=32, num_heads=2, max_length=64)
    config.model.update(
        vocab_size=0, body_width=32, ffn_width=64, positions_init="sinusoids", **small
    )
    config.data.vocab_size = 1000
    config.update(batch=32, length=32, log_every=10)
    config.eval.update(every=10, rows=64)  # at the end of each layer's phase
    config.checkpoint.every = 20
    config.stages = tuple(_smoke_stage(stage, small) for stage in config.stages)
    return config


def _smoke_stage(stage, small):
    stage = ConfigDict(stage.to_dict())
    stage.steps = 40
    if "body_width" in stage:
        layers = max(1, 4 * stage.get("num_layers", 24) // 24)
        stage.update({**small, "body_width": 64, "ffn_width": 128, "num_layers": layers})
    if "batch" in stage:
        stage.batch = 32
    if "length" in stage:
        stage.length = 32 if stage.length >= 512 else 16
    if "schedule" in stage and "decay_steps" in stage.schedule:
        stage.schedule.update(peak=2e-3, warmup=10, rewarmup=5)
    return stage


SMALL = dict(num_layers=4, width=128, table_width=64, num_heads=4, max_length=32)
PLAIN = dict(dropout=0.0, attention_dropout=0.0, next_sentence=False, pooler=False)
SMALL_STEPS = dict(masked_lm=2000, progressive=400, distill=800)


def small(config):
    """Reduces all stages to an hour on two cores, enough to leave the unigram plateau.

    Uses packed sequences of 32 tokens without next-sentence prediction, sinusoidal initial
    positions, larger initial weights, and AdamW instead of LAMB. The corpus is the default one
    unless the recipe names a store.
    """
    config = config.copy_and_resolve_references()
    config.model.update(
        SMALL, **PLAIN, vocab_size=0, body_width=32, ffn_width=128,
        positions_init="sinusoids", init_scale=0.05,
    )  # fmt: skip
    config.data.update(vocab_size=1000, rows="packed")
    config.optimizer = recipe.adamw(b2=0.98)
    config.update(batch=64, length=32, log_every=50)
    config.eval.update(every=100, rows=512)
    config.checkpoint.every = 200
    config.stages = tuple(_small_stage(stage) for stage in config.stages)
    return config


def small_stage(task, steps):
    """Fields of a stage of `small`: fixed learning rate if progressive, else decay to zero."""
    schedule = recipe.published(peak=1e-3, warmup=100, decay_steps=steps)
    if task == "progressive":
        schedule = recipe.constant(1e-3)
    return dict(task=task, steps=steps, schedule=schedule)


def _small_stage(stage):
    stage = ConfigDict(stage.to_dict() | small_stage(stage.task, SMALL_STEPS[stage.task]))
    if "body_width" in stage:
        stage.update(SMALL, **PLAIN, body_width=128, ffn_width=512)
    if "batch" in stage:
        stage.batch = 64
    return stage
