"""MobileBERT-tiny: two FFNs per block, and attention inside the bottleneck.

    bertgrow distill --config mobilebert_tiny --config.data.store=STORE --workdir W
    bertgrow distill --config mobilebert_tiny:small --workdir runs/tiny-small

Teacher, layer transfer and distillation are those of configs/mobilebert.py (Sun et al., 2020,
Table 1 and section 4.2).
"""

from mobilebert import recipe
from mobilebert.models import presets


def get_config(variant=""):
    return recipe.sized(recipe.published(presets.mobilebert_tiny()), variant)
