"""Recipe of the main claim in a minute: two layers from scratch, or grown in three axes."""

from bertgrow.recipes import build as recipe


def get_config(variant="grown"):
    config = recipe.pretraining()
    config.model = recipe.bert(
        vocab_size=0, num_layers=2, width=64, num_heads=2, ffn_width=256, max_length=32,
        dropout=0.0, attention_dropout=0.0, positions_init="sinusoids", init_scale=0.05,
    )  # fmt: skip
    config.optimizer = recipe.adamw(b2=0.98)
    config.schedule = recipe.wsd(peak=3e-3, warmup=50, rewarmup=25, decay=0.2)
    config.update(batch=64, length=32, log_every=50)
    config.eval.update(every=25, rows=256)
    config.checkpoint.every = 1000
    short = dict(length=16, batch=128)  # as many tokens a step as 64 rows of 32
    grown = recipe.stages(
        dict(steps=200, num_layers=1, ffn_share=2, **short),
        dict(steps=150, ffn_share=2, **short),
        dict(steps=150),
    )
    config.stages = grown if variant == "grown" else recipe.stages(dict(steps=500))
    return config
