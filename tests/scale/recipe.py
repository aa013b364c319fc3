"""Recipes for several processes: a growing encoder of few steps, and one to be stopped."""

from bertgrow.recipes import build as recipe


def get_config(variant=""):
    config = recipe.pretraining(seed=3)
    config.model = recipe.bert(
        vocab_size=0, num_layers=2, width=8, num_heads=2, ffn_width=16, max_length=16,
        positions_init="sinusoids",
    )  # fmt: skip
    config.optimizer = recipe.adamw()
    config.schedule = recipe.linear(peak=1e-3, warmup=2, rewarmup=2)
    config.update(batch=8, length=16, log_every=1)
    config.eval.update(every=3, rows=8)
    config.checkpoint.update(every=2, keep=20)
    config.stages = recipe.stages(
        dict(steps=3, num_layers=1, width=4, num_heads=1, ffn_width=8, ffn_share=2, length=8),
        dict(steps=3, num_layers=1, ffn_share=2, length=8),
        dict(steps=3, ffn_share=2),
        dict(steps=3),
    )
    if variant == "once":
        config.stages = recipe.stages(dict(steps=1, num_layers=1), dict(steps=1))
    if variant == "stopped":
        config.eval.update(every=8, rows=256)
        config.checkpoint.update(every=4, keep=20)
        config.stages = recipe.stages(dict(steps=24, num_layers=1), dict(steps=8))
    return config
