"""Classification and regression of texts: GLUE, and any labelled table."""

import functools
from pathlib import Path

import numpy as np

from bertgrow.core.errors import InputError
from bertgrow.finetune import examples, glue, metrics, sequences, submissions, tables, tasks
from bertgrow.finetune.problem import Problem

HELD_OUT = 10  # every so many rows of a table is held out, where no other table is given


def of_glue(name, data, tokenizer, max_length):
    """Reads a task of GLUE as a `Problem`.

    Args:
      name: "sst2".
      data: folder of the task, or of all tasks.
      tokenizer: of the model.
      max_length: tokens of a sequence at most.
    """
    task = glue.find(name)
    folder = glue.folder_of(data, task)
    train = glue.read(folder, "train.tsv", task)
    dev = {name: glue.read(folder, file, task) for name, file in task.dev.items()}
    test = {
        name: glue.read(folder, file, task, has_labels=False)
        for name, file in task.test.items()
        if glue.has(folder, file)
    }
    return _make(
        f"glue/{name}", train, dev, test, task.classes, task.metrics, folder, tokenizer,
        max_length,
    )  # fmt: skip


def of_table(kind, data, columns, tokenizer, max_length, dev=None):
    """Reads a labelled table as a `Problem`.

    Args:
      kind: "classify" or "regress".
      data: table of `tables.read`.
      columns: (text, pair or None, label), names of columns.
      tokenizer, max_length: as in `of_glue`.
      dev: table with the same columns; None: every tenth row of `data` is held out.
    """
    text, pair, label = columns
    table = tables.read(data)
    is_classes = kind == "classify"
    classes = examples.find_classes(table, label) if is_classes else None
    read = functools.partial(examples.make, text=text, pair=pair, label=label, classes=classes)
    train = read(table)
    held_out = read(tables.read(dev)) if dev else None
    if held_out is None:
        train, held_out = _split(train, data)
    names = metrics.CLASSIFY if is_classes else metrics.REGRESS
    return _make(
        kind, train, dict(dev=held_out), {}, classes, names, data, tokenizer, max_length
    )  # fmt: skip


def _split(rows, path):
    if len(rows.ids) < 2 * HELD_OUT:
        raise InputError(
            f"{path} has {len(rows.ids)} rows; expected at least {2 * HELD_OUT}, of which "
            "every tenth is held out, or give the held-out rows with --dev FILE"
        )
    is_held_out = np.arange(len(rows.ids)) % HELD_OUT == HELD_OUT - 1

    def chosen(which):
        return examples.Examples(*(
            column if column is None else
            column[which] if isinstance(column, np.ndarray) else
            [value for value, keep in zip(column, which, strict=True) if keep]
            for column in rows
        ))  # fmt: skip

    return chosen(~is_held_out), chosen(is_held_out)


def _make(name, train, dev, test, classes, names, path, tokenizer, max_length):
    classes = list(classes) if classes else None
    if classes:
        examples.check_classes(train.labels, classes, path)
    encode = functools.partial(sequences.encode, tokenizer=tokenizer, max_length=max_length)
    splits = dict(dev=dev, test=test)

    def score(part, values):
        labels, predictions = dev[part].labels, _predictions(values, classes)
        count = len(classes) if classes else None
        return dict(loss=values["loss"]) | metrics.compute(
            names, labels, predictions, num_classes=count
        )

    def write(folder, split, part, values):
        path = Path(folder) / f"{part}.tsv"
        ids = splits[split][part].ids
        submissions.write(path, ids, _predictions(values, classes), classes)
        return [path]

    def details(part, values):
        if not classes:
            return {}
        predictions = _predictions(values, classes)
        labels = dev[part].labels
        return dict(
            classes=classes,
            confusion=metrics.confusion(labels, predictions, len(classes)),
            majority=metrics.majority(labels, predictions, classes),
        )

    return Problem(
        name=name,
        train=encode(train),
        dev={part: encode(rows) for part, rows in dev.items()},
        test={part: encode(rows) for part, rows in test.items()},
        classes=classes,
        metric=names[0],
        head="classifier",
        outputs=len(classes) if classes else 1,
        losses=tasks.classes if classes else tasks.scores,
        score=score,
        write=write,
        details=details,
    )


def _predictions(values, classes):
    """Class numbers, or scores, in the order of the examples."""
    is_row = values["numbers"] >= 0
    logits = np.empty((is_row.sum(), values["logits"].shape[1]), np.float32)
    logits[values["numbers"][is_row]] = values["logits"][is_row]
    return logits.argmax(axis=1) if classes else logits[:, 0]
