"""Declares, reads and checks `store.json`, the metadata of a token store."""

import hashlib
import json
from typing import Literal, NotRequired, TypedDict

from bertgrow.core import system_files
from bertgrow.core.errors import InputError
from bertgrow.core.json_files import Sha256, Size, read

FORMAT, VERSION = "bertgrow token store", 1
HINT = "remove the store and prepare it again"


class File(TypedDict):
    bytes: Size
    sha256: Sha256


class Shard(TypedDict):
    file: str
    documents: Size


class Split(TypedDict):
    documents: Size
    sentences: Size
    tokens: Size
    shards: list[Shard]


class Splits(TypedDict):
    train: Split
    held_out: Split


class Vocabulary(TypedDict):
    file: Literal["vocab.txt", "vocab.model"]
    kind: Literal["wordpiece", "sentencepiece"]
    cased: bool
    size: Size
    hash: Sha256


class Metadata(TypedDict):
    """`store.json`. `checksum` is that of the other entries; the first stores have none."""

    format: str
    version: int
    vocab: Vocabulary
    splits: Splits
    words: Size
    left_out: dict[str, Size]
    made_from: dict
    warnings: NotRequired[list[str]]
    files: dict[str, File]
    hash: Sha256
    checksum: NotRequired[Sha256]


def load(folder):
    """Reads the metadata of the store in a folder; InputError if it is damaged."""
    path = folder / "store.json"
    if not path.is_file():
        raise InputError(
            f"{folder} is not a finished token store; make it with bertgrow prepare"
        )
    entries = read(path, dict[str, object], hint=HINT)
    if entries.get("format") != FORMAT:
        raise InputError(f"{path} does not describe a token store; give the folder of one")
    if entries.get("version") != VERSION:
        raise InputError(
            f"{folder} has version {entries.get('version')}, expected {VERSION}; "
            "prepare it again"
        )
    meta = read(path, Metadata, hint=HINT)
    if meta.get("checksum", checksum(entries)) != checksum(entries):
        raise InputError(f"{path} is damaged: its checksum differs; {HINT}")
    if meta["hash"] != content_hash(meta["files"]):
        raise InputError(f"{path} is damaged: its hash is not that of its files; {HINT}")
    for name, split in meta["splits"].items():
        if sum(shard["documents"] for shard in split["shards"]) != split["documents"]:
            raise InputError(f"{path} is damaged: the shards of {name} do not add up; {HINT}")
    return meta


def content_hash(files):
    """Content hash of a store: sha256 over the checksums of its files."""
    text = json.dumps({name: about["sha256"] for name, about in sorted(files.items())})
    return hashlib.sha256(text.encode()).hexdigest()


def checksum(entries):
    """sha256 of the entries of `store.json` other than the checksum itself."""
    others = {key: value for key, value in entries.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def check_size(path, about):
    """Checks that a file of a store is there and has its size."""
    size = f"{path.stat().st_size} bytes" if path.is_file() else "no file"
    if size != f"{about['bytes']} bytes":
        raise InputError(f"{path}: {size}, expected {about['bytes']} bytes; {HINT}")


def check_content(path, about):
    """Checks size and sha256 of a file of a store."""
    check_size(path, about)
    if system_files.sha256(path) != about["sha256"]:
        raise InputError(f"{path} is damaged: its sha256 is not that of store.json; {HINT}")
