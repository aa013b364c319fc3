"""Grows a trained BERT to twice the width and twice the depth, each exactly.

    bertgrow import --from hf DIR --workdir RUN
    bertgrow prepare --input 'text/*.txt' --vocab RUN/vocab.txt --output STORE
    bertgrow pretrain --config grow_from:mini --config.init_from=RUN \\
        --config.data.store=STORE --workdir W

The variant names the size of the model in RUN. The first stage trains this model, the second
one of twice the width, heads and FFN width, and the third one of twice the layers. New layers
are the identity at first. W/growth has a certificate of each growth. Measured on a small model:
docs/growth.md, "Growing an imported model".
"""

from bertgrow.recipes import build as recipe

SIZES = {  # layers, width, heads of Turc et al. (2019) and Devlin et al. (2019)
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}


def get_config(variant="base"):
    num_layers, width, num_heads = recipe.choose(variant, SIZES)
    config = recipe.pretraining(seed=0)
    config.model = recipe.bert(
        num_layers=2 * num_layers, width=2 * width, num_heads=2 * num_heads, ffn_width=8 * width
    )
    config.optimizer = recipe.adamw(weight_decay=0.01)
    config.schedule = recipe.linear(peak=1e-4, warmup=500, rewarmup=200)
    config.growth.update(width="uneven", depth="identity", moments="copy")
    config.update(batch=256, length=128)

    small = dict(width=width, num_heads=num_heads, ffn_width=4 * width, num_layers=num_layers)
    config.stages = recipe.stages(
        dict(steps=2_000, **small),
        dict(steps=10_000, num_layers=num_layers),
        dict(steps=20_000),
    )
    return config
