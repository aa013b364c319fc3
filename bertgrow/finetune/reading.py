"""Reads the data of a task by the name of `--task`, with the defaults of its options."""

from bertgrow.core.errors import InputError
from bertgrow.core.fields import nearest
from bertgrow.finetune import glue, job, labelled, tables
from bertgrow.finetune.squad import problem as squad

TABLES, SQUAD = ("classify", "regress"), ("squad1", "squad2")
LENGTH, SQUAD_LENGTH, SHORTEST = 128, 384, 8  # tokens
# Devlin et al. (2019), appendix A.3. MobileBERT's authors use a larger rate and more epochs.
LEARNING_RATE, EPOCHS, SQUAD_EPOCHS = 3e-5, 3.0, 2.0
STUDENT_RATE, STUDENT_EPOCHS = 4e-5, 5.0
LOG_EVERY = 10  # steps


def check(task, columns):
    """Raises InputError unless the task is known and has its columns.

    Args:
      task: value of `--task`.
      columns: (text, pair, label), names of columns or None.
    """
    known = [*TABLES, *SQUAD, *(f"glue/{name}" for name in glue.TASKS)]
    if task not in known:
        raise InputError(f"--task {task}: no such task; {nearest(task, known)}")
    text, _, label = columns
    if task in TABLES and not (text and label):
        raise InputError(
            f"--task {task} needs --text-column NAME and --label-column NAME, columns of --data"
        )
    if task not in TABLES and any(columns):
        raise InputError(f"--task {task} knows its columns; leave out --text-column and others")


def settings(task, pretrained, *, learning_rate, batch, epochs, length, seed):
    """Makes `job.Settings`; None is the default of the task and the model.

    A model without a pooler is a student of MobileBERT, or one like it.
    """
    is_squad, has_pooler = task in SQUAD, "pooler" in pretrained.params
    limit = pretrained.config.max_length
    if not SHORTEST <= (length or limit) <= limit:
        raise InputError(
            f"--length {length}; expected {SHORTEST} to {limit}, the positions of "
            f"{pretrained.source}"
        )
    usual_epochs = SQUAD_EPOCHS if is_squad else EPOCHS
    return job.Settings(
        learning_rate=learning_rate or (LEARNING_RATE if has_pooler else STUDENT_RATE),
        batch=batch,
        epochs=epochs or (usual_epochs if has_pooler else STUDENT_EPOCHS),
        length=length or min(SQUAD_LENGTH if is_squad else LENGTH, limit),
        seed=seed,
        log_every=LOG_EVERY,
    )


def read(task, data, tokenizer, max_length, *, columns=(None, None, None), dev=None):
    """Reads the `Problem` of a task; arguments as in `labelled` and `squad.problem`."""
    if task in SQUAD:
        if tables.is_tfds(data):
            raise InputError(f"--data {data}: --task {task} reads the JSON files of SQuAD")
        return squad.read(task, data, tokenizer, max_length, dev)
    if task in TABLES:
        return labelled.of_table(task, data, columns, tokenizer, max_length, dev)
    if dev is not None:
        raise InputError(f"--task {task} has its dev set in --data; leave out --dev")
    return labelled.of_glue(task.removeprefix("glue/"), data, tokenizer, max_length)
