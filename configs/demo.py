"""Small BERT, grown or from scratch: leaves the unigram plateau in minutes on two cores.

    bertgrow pretrain --config demo:grow --config.data.store=STORE --workdir W1
    bertgrow pretrain --config demo:scratch --config.data.store=STORE --workdir W2

Both variants end with the same model after the same number of steps and tokens. `grow` begins
with half the layers, half the FFN width and half the sequence length, and grows one axis at a
time. It is fast because of sinusoidal initial positions and a small vocabulary: docs/data.md.
"""

from bertgrow.recipes import build as recipe


def get_config(variant="grow"):
    config = recipe.pretraining(seed=0)
    config.model = recipe.bert(
        vocab_size=0, num_layers=4, width=128, num_heads=2, ffn_width=512, max_length=64,
        dropout=0.0, attention_dropout=0.0, positions_init="sinusoids", init_scale=0.05,
    )  # fmt: skip
    config.data.vocab_size = 1000
    config.optimizer = recipe.adamw(b2=0.98)
    config.schedule = recipe.linear(peak=2e-3, warmup=100, rewarmup=30)
    config.update(batch=32, length=64, log_every=50)
    config.eval.update(every=100, rows=512)
    config.checkpoint.every = 500

    short = dict(length=32, batch=64)  # as many tokens per step as 32 sequences of 64
    grown = recipe.stages(
        dict(steps=300, num_layers=2, ffn_share=2, **short),
        dict(steps=250, ffn_share=2, **short),
        dict(steps=250, **short),
        dict(steps=400),
    )
    scratch = recipe.stages(dict(steps=1200))
    config.stages = recipe.choose(variant, dict(grow=grown, scratch=scratch))
    return config
