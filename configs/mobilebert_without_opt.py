"""MobileBERT without operational optimisation: LayerNorm and gelu instead of NoNorm and relu.

    bertgrow distill --config mobilebert_without_opt --config.data.store=STORE \\
        --workdir W
    bertgrow distill --config mobilebert_without_opt:small --workdir runs/no-opt

It is slower on a phone and slightly more accurate (Sun et al., 2020, Tables 4 and 7), and the
student of their Table 9. It has the same kind of embedding norm as the teacher, so the norm is
copied too.
"""

from mobilebert import recipe
from mobilebert.models import presets


def get_config(variant=""):
    config = recipe.published(presets.mobilebert_without_opt())
    config.transfer.embedding_norm = "copy"
    return recipe.sized(config, variant)
