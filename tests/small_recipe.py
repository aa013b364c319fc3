"""Recipe of four short stages that grow in depth, width and length; runs in seconds."""

from bertgrow.recipes import build as recipe


def get_config(variant=""):
    config = recipe.pretraining(seed=3)
    config.model = recipe.bert(
        vocab_size=0, num_layers=2, width=16, num_heads=2, ffn_width=32, max_length=32,
        positions_init="sinusoids",
    )  # fmt: skip
    config.optimizer = recipe.adamw()
    config.schedule = recipe.linear(peak=1e-3, warmup=2, rewarmup=2)
    config.update(batch=8, length=32, log_every=1)
    config.eval.update(every=5, rows=16)
    config.checkpoint.every = 4
    config.stages = recipe.stages(
        dict(steps=7, num_layers=1, ffn_share=2, pool=2, length=16),
        dict(steps=7, ffn_share=2, pool=2, length=16),
        dict(steps=7, ffn_share=2),
        dict(steps=7),
    )
    if variant in ("short", "long"):  # the same growth at once
        config.stages = recipe.stages(
            dict(steps=7, num_layers=1, ffn_share=2, pool=2, length=16), dict(steps=7)
        )
    if variant == "long":
        config.checkpoint.every, config.eval.every = 7, 20
        for stage in config.stages:
            stage.steps = 40
    if variant == "once":
        config.eval.rows = 8
        config.stages = recipe.stages(dict(steps=1, num_layers=1), dict(steps=1))
    if variant == "stopped":
        config.eval.update(every=8, rows=256)
        config.checkpoint.keep = 50
        # So long that stops come to the end of a stage only where they wait for it.
        config.stages = recipe.stages(dict(steps=72, num_layers=1), dict(steps=8))
    if variant == "plain":
        config.stages = recipe.stages(dict(steps=8))
    if variant == "masking":
        config.stages = recipe.stages(dict(steps=8), dict(steps=8, masking=dict(rate=0.3)))
    return config
