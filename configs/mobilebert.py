"""MobileBERT: IB-BERT-large teacher, layer-wise knowledge transfer, then distillation.

    bertgrow distill --config mobilebert --config.data.store=STORE --workdir W
    bertgrow distill --config mobilebert:smoke --workdir runs/mobilebert-smoke

Sun et al. (2020): 500k steps of 4096 sequences for the teacher, 24 phases of 10k steps of 2048
sequences for the layers of the student, 500k steps of 2048 sequences of distillation.
`--config.transfer.teacher=WORKDIR` selects a teacher that is already trained. The published
data masked 20 tokens per sequence (`--config.masking.max_predictions=20`); here 15 % are
masked.
"""

from mobilebert import recipe
from mobilebert.models import presets


def get_config(variant=""):
    return recipe.sized(recipe.published(presets.mobilebert()), variant)
