"""IB-BERT-large, the teacher of MobileBERT, trained separately for several students.

    bertgrow pretrain --config ib_bert_large --config.data.store=STORE --workdir T
    bertgrow distill --config mobilebert --config.data.store=STORE \\
        --config.transfer.teacher=T --workdir W

500k steps of 4096 sequences with LAMB (Sun et al., 2020, section 4.2). Learning rate and
warm-up were not published; here they are those of the student.
"""

from mobilebert import recipe


def get_config(variant=""):
    return recipe.sized(recipe.teacher_alone(), variant)
