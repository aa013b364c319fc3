"""BERT-base from scratch: the baseline of the other BERT-base recipes.

    bertgrow pretrain --config bert_base --config.data.store=STORE --workdir W
    bertgrow pretrain --config bert_base:smoke --workdir runs/smoke

Variant `fast`: no attention dropout, for attention kernels (docs/training.md).

A million steps of 512 sequences of 512 tokens, 76 predictions per sequence (Devlin et al.,
2019; batch and schedule as in TensorFlow's Model Garden).
"""

from bertgrow.recipes import build as recipe


def get_config(variant=""):
    config = recipe.pretraining(seed=0)
    config.model = recipe.bert(num_layers=12, width=768, num_heads=12, next_sentence=True)
    config.data.rows = "pairs"
    config.optimizer = recipe.adamw(weight_decay=0.01)
    config.schedule = recipe.linear(peak=1e-4, warmup=10_000)
    config.update(batch=512, length=512)
    config.stages = recipe.stages(dict(steps=1_000_000))
    return recipe.sized(config, variant, fast=recipe.fast, smoke=recipe.smoke)
