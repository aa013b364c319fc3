"""Recipe for several processes: an encoder that grows in width, depth and length."""

from bertgrow.recipes import build as recipe


def get_config(variant=""):
    del variant
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
        dict(steps=4, num_layers=1, width=4, num_heads=1, ffn_width=8, ffn_share=2, length=8),
        dict(steps=4),
    )
    return config
