"""Recipe with every kind of growth that takes several steps; runs in seconds."""

import small_recipe

from bertgrow.recipes import build as recipe


def get_config(variant=""):
    del variant
    config = small_recipe.get_config()
    config.model.num_layers = 3
    wide = dict(width=32, num_heads=4, ffn_width=64)
    config.stages = recipe.stages(
        dict(steps=4, num_layers=1, ffn_share=2),
        dict(steps=4, num_layers=2, ffn_share=2, frozen_layers=1, grow=dict(depth="mslt")),
        dict(steps=4, num_layers=2, grow=dict(width="msg", ramp=2)),
        dict(steps=4, task="ligo", **wide),
        dict(steps=4, **wide),
    )
    return config
