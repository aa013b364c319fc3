"""MobileBERT: an IB-BERT-large teacher, its knowledge layer by layer, then distillation.

    bertgrow distill --config mobilebert --config.data.store=STORE --workdir W
    bertgrow distill --config mobilebert:smoke --workdir runs/mobilebert-smoke

Sun et al. (2020): 500k steps of 4096 rows for the teacher, 24 phases of 10k steps of 2048 rows
for the layers of the student, 500k steps of 2048 rows of distillation. A teacher that is
there already is named by `--config.transfer.teacher=WORKDIR`. The published data hid 20 tokens
a row: `--config.masking.max_predictions=20`; ours hides 15 %.
"""

from mobilebert import recipe
from mobilebert.models import presets


def get_config(variant=""):
    return recipe.sized(recipe.published(presets.mobilebert()), variant)
