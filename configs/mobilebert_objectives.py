"""Ablation of knowledge transfer: Tables 8 and 9 of Sun et al. (2020) at small scale.

    bertgrow pretrain --config ib_bert_large:small --config.data.store=STORE \\
        --workdir T
    bertgrow distill --config mobilebert_objectives:bare --config.data.store=STORE \\
        --config.transfer.teacher=T --workdir bare-seed0

All variants train the small student without operational optimisation, as in Table 9, for the
same steps on the same sequences. bare: no teacher. pd: distillation alone. fmt: feature maps
layer by layer, then distillation. at: attention maps too, the complete (progressive) method.
jkt: both maps of all layers at once, then distillation. akt: all losses in one stage. Results:
docs/results/mobilebert.md.
"""

from bertgrow.recipes.build import choose, stages
from mobilebert import recipe
from mobilebert.models import presets

STEPS, TRANSFER = 1200, 400


def get_config(variant="at"):
    config = recipe.small(recipe.distillation(presets.mobilebert_without_opt()))
    config.transfer.embedding_norm = "copy"
    config.transfer.attention = 0.0 if variant == "fmt" else 1.0
    two = (("progressive", TRANSFER), ("distill", STEPS - TRANSFER))
    planned = {
        "bare": (("masked_lm", STEPS),),
        "pd": (("distill", STEPS),),
        "fmt": two,
        "at": two,
        "jkt": (("joint", TRANSFER), two[1]),
        "akt": (("auxiliary", STEPS),),
    }
    chosen = choose(variant, planned)
    config.stages = stages(*(recipe.small_stage(*stage) for stage in chosen))
    return config
