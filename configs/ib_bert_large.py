"""IB-BERT-large: the teacher of MobileBERT, alone, so that several students can share it.

    bertgrow pretrain --config ib_bert_large --config.data.store=STORE --workdir T
    bertgrow distill --config mobilebert --config.data.store=STORE \\
        --config.transfer.teacher=T --workdir W

500k steps of 4096 rows by LAMB (Sun et al., 2020, section 4.2); its rate and warm-up were not
published and are those of the student here.
"""

from mobilebert import recipe


def get_config(variant=""):
    return recipe.sized(recipe.teacher_alone(), variant)
