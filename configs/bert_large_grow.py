"""BERT-large with CompoundGrow: 6, 12 and 24 low-cost layers, then the full model.

    bertgrow pretrain --config bert_large_grow --config.data.store=STORE --workdir W
    bertgrow pretrain --config bert_large_grow:smoke --workdir runs/smoke

Variant `fast`: no attention dropout, for attention kernels (docs/training.md).

Gu et al. (2021), stage split as recalled from the paper (docs/papers.md). FLOPs speed-up:
+107.9 % by the cost model of this package, +111.4 % in the paper.
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

    # The fields of a stage override `config.model`; it trains for `steps` steps.
    low_cost = dict(ffn_share=2, pool=2)
    config.stages = recipe.stages(
        dict(steps=200_000, num_layers=6, **low_cost),
        dict(steps=200_000, num_layers=12, **low_cost),
        dict(steps=300_000, num_layers=24, **low_cost),
        dict(steps=300_000),
    )
    return recipe.sized(config, variant, fast=recipe.fast, smoke=recipe.smoke)
