"""Recipe of a teacher and its student, in seconds; variants use a teacher of another run."""

from bertgrow.recipes.build import constant, linear, stages
from mobilebert import recipe
from mobilebert.models import presets

SIZES = dict(num_layers=2, width=16, table_width=8, num_heads=2)
TEACHER = recipe.teacher(
    **SIZES, steps=4, batch=8, body_width=16, ffn_width=32, schedule=constant(1e-2)
)
STUDENT = (
    dict(task="progressive", steps=8, length=16, schedule=constant(2e-2)),
    dict(task="distill", steps=4),
)
STAGES = {
    "": (TEACHER, *STUDENT),
    "teacher": (TEACHER,),
    "student": STUDENT,
    "progressive": STUDENT[:1],
    "joint": (dict(task="joint", steps=4),),
    "auxiliary": (dict(task="auxiliary", steps=4),),
}


def get_config(variant=""):
    config = recipe.distillation(
        presets.mobilebert(
            **SIZES, vocab_size=0, max_length=32, positions_init="sinusoids", body_width=8,
            ffn_width=16, num_ffns=1,
        )
    )  # fmt: skip
    config.schedule = linear(peak=1e-2, warmup=2, rewarmup=2)
    config.update(batch=8, length=32, log_every=1)
    config.eval.update(every=100, rows=8)
    config.checkpoint.update(every=100)
    config.transfer.update(cache_dtype="float32", cache_top_k=400)
    config.stages = stages(*STAGES[variant])
    return config
