"""Tests of reading JSON files of a declared type."""

import json
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from bertgrow.core import json_files
from bertgrow.core.errors import InputError


class Entry(TypedDict):
    bytes: json_files.Size
    sha256: json_files.Sha256


class Index(TypedDict):
    version: Literal[2]
    files: dict[str, Entry]
    loss: NotRequired[float | None]


INDEX = dict(version=2, files={"a": dict(bytes=1, sha256="0" * 64)})


def message(text, kind=Index):
    with pytest.raises(ValueError) as error:
        json_files.parse(text, kind)
    return str(error.value)


def test_a_file_of_the_declared_type_is_read_with_undeclared_keys(tmp_path):
    path = tmp_path / "index.json"
    path.write_text(json.dumps(INDEX | dict(later=1)))

    assert json_files.read(path, Index, hint="make it again") == INDEX | dict(later=1)


@pytest.mark.parametrize(
    "change, expected",
    [
        (dict(version=3), "invalid enum value 3 at version"),
        (dict(files=[]), "expected object, got array at files"),
        (dict(files={"a": dict(bytes=-1, sha256="0" * 64)}), "expected int >= 0 at files[...]"),
        (dict(files={"a": dict(bytes=True, sha256="0" * 64)}), "expected int, got bool"),
        (dict(files={"a": dict(bytes=1, sha256="0" * 63)}), "expected str matching regex"),
        (dict(files={"a": dict(bytes=1)}), "object missing required field sha256"),
        (dict(loss="low"), "expected float | null, got str at loss"),
    ],
)
def test_an_error_names_the_key_and_what_was_expected(change, expected):
    assert expected in message(json.dumps(INDEX | change))


@pytest.mark.parametrize("text", ["", "{", "NaN", b"\xff", "[" * 100_000, f"[1{'0' * 6000}]"])
def test_text_that_is_no_plain_json_is_refused_in_one_line(text):
    assert "\n" not in message(text, Any)


def test_an_error_names_the_file_and_what_to_do(tmp_path):
    path = tmp_path / "index.json"

    with pytest.raises(InputError, match="index.json is missing; make it again"):
        json_files.read(path, Index, hint="make it again")
    path.mkdir()
    with pytest.raises(InputError, match="index.json is a folder, expected a file"):
        json_files.read(path, Index, hint="make it again")
