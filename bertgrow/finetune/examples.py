"""Labelled texts, and the labels of a task."""

import math
from typing import NamedTuple

import numpy as np

from bertgrow.core.errors import InputError


class Examples(NamedTuple):
    """Texts, or pairs of texts, perhaps with labels. `ids` name them in predictions."""

    ids: list
    texts: list
    pairs: list | None  # second texts
    labels: np.ndarray | None  # int32 class numbers, or float32 scores


def make(table, *, text, pair=None, label=None, classes=None, score_range=None, ids=None):
    """Makes the `Examples` of a table.

    Args:
      table: `tables.Table`.
      text, pair: names of the columns of the first and second text; `pair` may be None.
      label: name of the column of labels; None: there are none.
      classes: list of the labels as text; None: labels are numbers.
      score_range: (smallest, largest) number that may be a label; None: any number.
      ids: name of the column of ids; None: rows are counted from 0.

    Raises:
      InputError: a column is missing, or a label is none of the task.
    """
    labels = None
    if label is not None:
        if classes is None:
            labels = _numbers(table, label, score_range)
        else:
            labels = _class_numbers(table, label, classes)
    return Examples(
        ids=[str(each) for each in (table.column(ids) if ids else range(len(table.places)))],
        texts=table.texts(text),
        pairs=table.texts(pair) if pair else None,
        labels=labels,
    )


def find_classes(table, label):
    """Labels of a column as text: in the order of numbers if all are, else sorted.

    Raises:
      InputError: there is only one, or a label is missing.
    """
    values = table.column(label)
    for place, value in zip(table.places, values, strict=True):
        if value is None or value == "":
            raise InputError(f"{table.path}, {place}: column {label!r} is empty; give a label")
    names = sorted({str(value) for value in values})
    if all(name.removeprefix("-").isdecimal() for name in names):
        names.sort(key=int)
    if len(names) < 2:
        raise InputError(
            f"{table.path}: every label of column {label!r} is {names[0]!r}; a classifier "
            "needs two classes"
        )
    return names


def check_classes(labels, classes, path):
    """Raises InputError if a class has no example."""
    counts = np.bincount(labels, minlength=len(classes))
    for name, count in zip(classes, counts, strict=True):
        if not count:
            raise InputError(
                f"{path}: no example has the label {name!r}; expected some of each class "
                f"({', '.join(classes)})"
            )


def _class_numbers(table, label, classes):
    numbers = {name: number for number, name in enumerate(classes)}
    values = table.column(label)
    for place, value in zip(table.places, values, strict=True):
        if str(value) not in numbers:
            raise InputError(
                f"{table.path}, {place}: label {value!r}; expected {', '.join(classes)}"
            )
    return np.array([numbers[str(value)] for value in values], np.int32)


def _numbers(table, label, score_range):
    low, high = score_range or (-math.inf, math.inf)
    expected = f"a number from {low:g} to {high:g}" if score_range else "a number"
    scores = []
    for place, value in zip(table.places, table.column(label), strict=True):
        try:
            score = float(value)
        except (TypeError, ValueError):
            score = math.nan
        if not (math.isfinite(score) and low <= score <= high):
            raise InputError(f"{table.path}, {place}: label {value!r}; expected {expected}")
        scores.append(score)
    return np.array(scores, np.float32)
