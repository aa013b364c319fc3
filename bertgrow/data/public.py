"""Documents of a TFDS data set, local or public."""

import re

from bertgrow.errors import InputError

VERSION = re.compile(r"\d+\.\d+\.\d+|\d+\.\*\.\*")


def open_dataset(given):
    """Opens `tfds:NAME[:split]`.

    A data set written here before (ArrayRecord) opens without TensorFlow; the public
    catalogue needs it.

    Returns:
      What identifies the data, and `texts(bad) -> iterator of texts`.
    """
    import tensorflow_datasets as tfds

    name, split = _parse(given)
    try:
        builder = tfds.builder(name)
        data = builder.as_data_source(split=split)
    except Exception as error:  # TFDS raises many kinds, and none has a common parent
        raise InputError(_advice(given, error)) from error
    if "text" not in (builder.info.features or {}):
        raise InputError(f"{given}: expected a feature 'text', found {builder.info.features}")

    def texts(bad):
        for number in range(len(data)):
            text = data[number]["text"]
            try:
                yield text if isinstance(text, str) else bytes(text).decode()
            except UnicodeDecodeError as error:
                bad(f"{given}:{number + 1}: {error.reason} at byte {error.start}, not UTF-8")

    return f"{builder.info.full_name}:{split}:{len(data)}", texts


def _parse(given):
    parts = given.removeprefix("tfds:").split(":")
    split = "train"
    if len(parts) > 1 and not VERSION.fullmatch(parts[-1]):
        split = parts.pop()
    return ":".join(parts), split


def _advice(given, error):
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    try:
        import tensorflow  # noqa: F401
    except ImportError:
        return (
            f"{given}: not found among local data sets ({line}); the public catalogue needs "
            "TensorFlow: pip install 'bertgrow[tfds]'"
        )
    return f"{given}: {line}; check the name and the split"
