"""BERT-mini to fine-tune: grown, from scratch with the same FLOPs, or not trained at all.

    bertgrow pretrain --config mini:grow --config.data.store=STORE --workdir W1
    bertgrow pretrain --config mini:scratch --config.data.store=STORE --workdir W2
    bertgrow pretrain --config mini:untrained --config.data.store=STORE --workdir W3

STORE has the vocabulary of BERT (30,522). All variants end with the same model, 4 layers of 256
hidden units. `grow` begins with half the layers, FFN width and length, as `study`. The learning
rate of the only step of `untrained` is 0. Results of fine-tuning, none of `grow` yet:
docs/results/finetuning.md.
"""

from bertgrow.recipes import build as recipe

GROWN, SCRATCH = 6000, 4355  # steps of 32,768 tokens, 3.97 PFLOP each


def get_config(variant="grow"):
    config = recipe.pretraining(seed=0)
    config.model = recipe.bert(
        num_layers=4, width=256, num_heads=4, ffn_width=1024, dropout=0.0,
        attention_dropout=0.0, positions_init="sinusoids",
    )  # fmt: skip
    config.optimizer = recipe.adamw(b2=0.98)
    config.schedule = recipe.linear(peak=1e-3, warmup=500, rewarmup=100)
    config.update(batch=256, length=128)
    config.eval.update(every=500, rows=1024)
    config.checkpoint.every = 2000

    short = dict(length=64, batch=512)  # as many tokens per step as 256 sequences of 128
    grown = recipe.stages(
        dict(steps=GROWN * 4 // 10, num_layers=2, ffn_share=2, **short),
        dict(steps=GROWN * 3 // 10, ffn_share=2, **short),
        dict(steps=GROWN * 3 // 10),
    )
    scratch = recipe.stages(dict(steps=SCRATCH))
    untrained = recipe.stages(dict(steps=1))
    variants = dict(grow=grown, scratch=scratch, untrained=untrained)
    config.stages = recipe.choose(variant, variants)
    return config
