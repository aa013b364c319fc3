"""IB-BERT-large with CompoundGrow: 6, 12 and 24 low-cost layers, then the full model.

    bertgrow pretrain --config ib_bert_large_grow --config.data.store=STORE \\
        --workdir T
    bertgrow distill --config mobilebert --config.data.store=STORE \\
        --config.transfer.teacher=T --workdir W

Depth and FFN sharing are those of `bert_large_grow` (Gu et al., 2021); the stages are scaled
to the teacher's 500k steps. Low-cost stages use sequences of 128 tokens instead of pooling,
which is not defined for the inverted-bottleneck block. A low-cost step therefore also has a
quarter of the tokens; `bertgrow plan` prints the speed-up per step and per token.
"""

from bertgrow.recipes.build import sized, stages
from mobilebert import recipe


def get_config(variant=""):
    config = recipe.teacher_alone()

    # The fields of a stage override `config.model`; it trains for `steps` steps.
    low_cost = dict(ffn_share=2, length=128)
    config.stages = stages(
        recipe.teacher(steps=100_000, num_layers=6, **low_cost),
        recipe.teacher(steps=100_000, num_layers=12, **low_cost),
        recipe.teacher(steps=150_000, num_layers=24, **low_cost),
        recipe.teacher(steps=150_000),
    )
    return sized(config, variant, smoke=recipe.smoke)
