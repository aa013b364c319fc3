"""Reads JSON files whose keys and types are declared, so that damage is noticed.

    class Entry(TypedDict):
        bytes: Size
        sha256: Sha256

    json_files.read(path, dict[str, Entry], hint="prepare the store again")

A declaration is a type that msgspec knows: `TypedDict`, `list`, `dict`, `Literal`, unions, and
`Annotated` types with limits. Keys that a declaration does not name may have any value.
"""

import re
from typing import Annotated

import msgspec

from bertgrow.core.errors import InputError

NOT_EMPTY = msgspec.Meta(min_length=1)
Size = Annotated[int, msgspec.Meta(ge=0)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


def read(path, kind, *, hint):
    """Reads a JSON file.

    Args:
      path: file, a `pathlib.Path` or `epath.Path`.
      kind: declared type.
      hint: what to do if the file is damaged, the end of the error.

    Raises:
      InputError: the file is missing or has other keys, types or values.
      OSError: the file cannot be read.
    """
    try:
        return parse(path.read_bytes(), kind)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; {hint}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, expected a file; {hint}") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; {hint}") from None


def parse(text, kind):
    """Parses JSON text, `str` or `bytes`; ValueError with the reason in one line."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(f"it is not JSON ({error})") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return check(value, kind)


def check(value, kind):
    """Returns `value` if it is of the declared type; ValueError with the reason in one line."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(_plain(error)) from None
    return value


def _plain(error):
    """`expected int, got str at files[...].bytes` for the message of msgspec."""
    text, _, path = str(error).replace("`", "").partition(" - at ")
    path = re.sub(r"\$\.?", "", path)
    return f"{text[:1].lower()}{text[1:]}" + (f" at {path}" if path else "")
