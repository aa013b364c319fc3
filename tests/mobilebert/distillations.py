"""Recipes of teacher and student that run in seconds.

Each strategy, a growing teacher, and (`cached...`) a short run for tests of the teacher cache.
"""

from bertgrow.recipes.build import constant, linear, stages
from mobilebert import recipe
from mobilebert.models import presets

SIZES = dict(num_layers=2, width=16, table_width=8, num_heads=2)
STUDENT = presets.mobilebert(
    **SIZES, vocab_size=0, max_length=32, positions_init="sinusoids", body_width=8,
    ffn_width=16, num_ffns=2,
)  # fmt: skip


def teacher(steps=6, **fields):
    """The fields of a small IB-BERT, under the schedule of the whole run."""
    sizes = dict(SIZES, batch=8, body_width=16, ffn_width=32)
    made = recipe.teacher(**sizes | dict(steps=steps) | fields)
    return {name: value for name, value in made.items() if name != "schedule"}


def transfer(task, steps, learning_rate=3e-4):
    return dict(task=task, steps=steps, schedule=constant(learning_rate))


CACHED_TEACHER = recipe.teacher(
    **SIZES, steps=4, batch=8, body_width=16, ffn_width=32, schedule=constant(1e-2)
)
CACHED_STUDENT = (
    dict(task="progressive", steps=8, length=16, schedule=constant(2e-2)),
    dict(task="distill", steps=4),
)
STAGES = {
    "": (teacher(), transfer("progressive", 6), dict(task="distill", steps=6)),
    "teacher": (teacher(),),
    "untaught": (transfer("progressive", 6),),
    "joint": (transfer("joint", 24),),
    "auxiliary": (transfer("auxiliary", 24),),
    "grow": (
        teacher(num_layers=2, ffn_share=2, length=16),
        teacher(num_layers=4, length=32),
        transfer("progressive", 80, learning_rate=1e-3),
        dict(task="distill", steps=12),
    ),
    "phases": (teacher(1, num_layers=4), transfer("progressive", 8)),
    "every": (
        teacher(),
        *(transfer(name, 6) for name in ("progressive", "joint", "distill", "auxiliary")),
    ),
    "long": (teacher(60), transfer("progressive", 60), dict(task="distill", steps=60)),
    "cached": (CACHED_TEACHER, *CACHED_STUDENT),
    "cached_teacher": (CACHED_TEACHER,),
    "cached_student": CACHED_STUDENT,
    "cached_progressive": CACHED_STUDENT[:1],
    "cached_joint": (dict(task="joint", steps=4),),
    "cached_auxiliary": (dict(task="auxiliary", steps=4),),
}


def get_config(variant=""):
    config = recipe.distillation(STUDENT, seed=5)
    config.schedule = linear(peak=1e-2, warmup=2, rewarmup=2)
    config.update(batch=8, length=32, log_every=1)
    config.eval.update(every=4, rows=8)
    config.checkpoint.update(every=3, keep=20)
    if variant in ("every", "grow"):
        config.model.init_scale = 0.2  # so that layers differ, and attention is not flat
    if variant == "phases":
        config.model.num_layers = 4
    if variant == "long":
        config.checkpoint.update(every=10, keep=2)
    if variant == "grow":
        config.eval.every = 40  # the end of each layer's phase
    if variant.startswith("cached"):
        config.seed, config.model.num_ffns = 0, 1
        config.eval.every = config.checkpoint.every = 100
        config.transfer.update(cache_dtype="float32", cache_top_k=400)
    config.stages = stages(*STAGES[variant])
    return config
