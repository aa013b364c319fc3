"""Comparison of growth and full training: six layers, half an hour of one core per arm.

    bertgrow compare --arms full=study:full uneven=study:uneven \\
        equal=study:equal normal=study:normal \\
        stack=study:stack --config.data.store=STORE --workdir runs/study

Every arm ends with the same model after the same number of steps of 2048 tokens. Results, the
preparation of STORE (Wikipedia) and the choice of sizes: docs/results/compoundgrow.md.
"""

from bertgrow.recipes import build as recipe


def get_config(variant="uneven"):
    config = recipe.pretraining(seed=0)
    config.model = recipe.bert(
        vocab_size=1000, num_layers=6, width=128, num_heads=2, ffn_width=512, max_length=32,
        dropout=0.0, attention_dropout=0.0, init_scale=0.05,
        positions_init="normal" if variant == "normal" else "sinusoids",
    )  # fmt: skip
    config.optimizer = recipe.adamw(b2=0.98)
    config.schedule = recipe.wsd(peak=1e-3, warmup=200, rewarmup=100, decay=0.2)
    config.update(batch=64, length=32, log_every=50)
    config.eval.update(every=100, rows=512)
    config.checkpoint.every = 500

    short = dict(length=16, batch=128)  # as many tokens per step as 64 sequences of 32
    compound = (  # the paper's split with its first two stages merged: 40, 30 and 30 %
        dict(steps=720, num_layers=2, ffn_share=2, **short),
        dict(steps=540, ffn_share=2, **short),
        dict(steps=540),
    )
    stages = {
        "full": (dict(steps=1800),),
        "normal": (dict(steps=1800),),
        "stack": (dict(steps=720, num_layers=2), dict(steps=1080)),
        "equal": compound,
        "uneven": compound,
    }
    config.stages = recipe.stages(*recipe.choose(variant, stages))
    if variant == "equal":  # as published; the default of every recipe is "uneven"
        config.growth.width = "equal"
    return config
