"""Predictions of classification and regression, in the layout of the GLUE benchmark.

A file has the columns `index` and `prediction`; predictions are labels as in the data.
"""

import numpy as np

from bertgrow.core import system_files
from bertgrow.core.errors import InputError
from bertgrow.finetune import tables


def write(path, ids, predictions, classes):
    """Writes a file of predictions.

    Args:
      path: new .tsv file.
      ids: of the examples.
      predictions: int class numbers, or float scores if `classes` is None.
      classes: names of the labels, or None.
    """
    named = (classes[value] if classes else f"{value:.3f}" for value in predictions)
    rows = [f"{number}\t{value}" for number, value in zip(ids, named, strict=True)]
    system_files.write_atomically(path, "\n".join(["index\tprediction", *rows, ""]))


def read(path, ids, classes):
    """Reads predictions in the order of `ids`, class numbers or float scores.

    Raises:
      InputError: an id is unknown, missing or there twice, or a prediction is no label.
    """
    table = tables.read(path)
    values = dict(zip(map(str, table.column("index")), table.column("prediction"), strict=True))
    if len(values) < len(table.places):
        raise InputError(f"{path}: an index occurs twice; expected one prediction for each")
    known = set(ids)
    if unknown := [name for name in values if name not in known]:
        raise InputError(
            f"{path}: index {unknown[0]!r} is no example of the data"
            + (f", nor are {len(unknown) - 1} others" if len(unknown) > 1 else "")
            + f"; expected {ids[0]} to {ids[-1]}"
        )
    if missing := [name for name in ids if name not in values]:
        raise InputError(
            f"{path}: {len(missing)} examples have no prediction, e.g. {missing[0]}"
        )
    return np.array([_value(path, values[name], classes) for name in ids])


def _value(path, value, classes):
    if classes:
        if str(value) not in classes:
            raise InputError(f"{path}: prediction {value!r}; expected {', '.join(classes)}")
        return classes.index(str(value))
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{path}: prediction {value!r}; expected a number") from None
