"""BERT-large with progressive stacking: 6, 12, 24 layers (Gong et al., 2019).

    bertgrow pretrain --config bert_large_stack --config.data.store=STORE --workdir W
    bertgrow pretrain --config bert_large_stack:smoke --workdir runs/smoke

Variant `fast`: no attention dropout, for attention kernels (docs/training.md).

The stacking baseline of Gu et al. (2021), stage split as recalled from the paper. FLOPs
speed-up: +72.1 % by the cost model of this package (docs/papers.md).
"""

from bertgrow.recipes import build as recipe


def get_config(variant=""):
    config = recipe.pretraining(seed=0)
    config.model = recipe.bert(
        num_layers=24, width=1024, num_heads=16, ffn_width=4096, next_sentence=True
    )
    config.data.rows = "pairs"
    config.optimizer = recipe.adamw(weight_decay=0.01)
    config.schedule = recipe.linear(peak=1e-4, warmup=10_000)
    config.update(batch=512, length=512)
    config.stages = recipe.stages(
        dict(steps=300_000, num_layers=6),
        dict(steps=400_000, num_layers=12),
        dict(steps=300_000),
    )
    return recipe.sized(config, variant, fast=recipe.fast, smoke=recipe.smoke)
