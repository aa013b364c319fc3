"""Reads documents and tables from a TFDS data set, local or public."""

import importlib.util
import re

from bertgrow.core.errors import InputError

VERSION = re.compile(r"\d+\.\d+\.\d+|\d+\.\*\.\*")


def open_dataset(name):
    """Opens `tfds:NAME[:split]`.

    A local data set in ArrayRecord format opens without TensorFlow. The public catalogue
    needs TensorFlow.

    Returns:
      A string that identifies the data (name, split, size), and
      `texts(bad) -> iterator of texts`.
    """
    data, split = _source(name)
    info = data.dataset_info
    if "text" not in (info.features or {}):
        raise InputError(f"{name}: expected a feature 'text', found {list(info.features)}")

    def texts(bad):
        for number in range(len(data)):
            text = data[number]["text"]
            try:
                yield text if isinstance(text, str) else bytes(text).decode()
            except UnicodeDecodeError as error:
                bad(f"{name}:{number + 1}: {error.reason} at byte {error.start}, not UTF-8")

    return f"{info.full_name}:{split}:{len(data)}", texts


def read_columns(name):
    """Reads all rows of `tfds:NAME[:split]`.

    Returns:
      ({feature: list of values}, {feature: names of its classes}). Texts are str, and numbers
      are those of Python; classes are numbers, below 0 where they are not known.
    """
    data, _ = _source(name)
    features = data.dataset_info.features or {}
    columns = {feature: [] for feature in features}
    for number in range(len(data)):
        for feature, value in data[number].items():
            columns[feature].append(_plain(name, number, value))
    classes = {
        feature: kind.names for feature, kind in features.items() if hasattr(kind, "names")
    }
    return columns, classes


def _plain(name, number, value):
    try:
        return value.decode() if isinstance(value, bytes) else getattr(value, "item", value)()
    except UnicodeDecodeError as error:
        raise InputError(f"{name}, row {number + 1} is not UTF-8 text: {error}") from None
    except (TypeError, ValueError):
        return value  # no scalar


def _source(name):
    """The data source of a name, and its split."""
    import tensorflow_datasets

    dataset, split = _parse(name)
    try:
        return tensorflow_datasets.data_source(dataset, split=split), split
    except Exception as error:  # TFDS raises many exception types without a common base
        raise InputError(_advice(name, error)) from error


def _parse(name):
    parts = name.removeprefix("tfds:").split(":")
    split = "train"
    if len(parts) > 1 and not VERSION.fullmatch(parts[-1]):
        split = parts.pop()
    return ":".join(parts), split


def _advice(name, error):
    lines = str(error).strip().splitlines() or [type(error).__name__]
    line = lines[0][:200]  # the other lines list all data sets of TFDS
    if "split" in line or importlib.util.find_spec("tensorflow"):
        return f"{name}: {line}; check the name and the split"
    return (
        f"{name}: not among the local data sets ({line}); the public catalogue needs "
        "TensorFlow: pip install 'bertgrow[tfds]'"
    )
