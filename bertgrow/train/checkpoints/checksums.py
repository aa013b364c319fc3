"""Checksum files: detect incomplete and damaged checkpoints.

Each checkpoint has one checksum file, which is written last. Orbax does not detect a flipped
bit when it restores, so this module checks the bytes.
"""

import hashlib
import json
from typing import TypedDict

from etils import epath

from bertgrow.core import json_files, system_files


class Entry(TypedDict):
    bytes: json_files.Size
    sha256: json_files.Sha256


class Table(TypedDict):
    """Contents of a checksum file."""

    files: dict[str, Entry]  # path in the checkpoint: size and digest


def write(folder, path):
    """Hashes every file below `folder` and writes the table to `path`, atomically."""
    folder, path = epath.Path(folder), epath.Path(path)
    table = {
        str(file.relative_to(folder)): {"bytes": file.stat().length, "sha256": digest(file)}
        for file in files(folder)
    }
    system_files.write_atomically(path, json.dumps({"files": table}, indent=1, sort_keys=True))


def reason(folder, path):
    """Returns why a checkpoint is incomplete or damaged, as text; None if it is intact.

    A folder without a checksum file counts as incomplete: the process stopped before the save
    was finished, and its bytes cannot be verified.
    """
    folder, path = epath.Path(folder), epath.Path(path)
    if not path.exists():
        return "it has no checksum file: the process was stopped before the save was complete"
    try:
        expected = json_files.parse(path.read_bytes(), Table)["files"]
    except ValueError as error:
        return f"its checksum file {path.name} is damaged: {error}"
    present = {str(file.relative_to(folder)): file for file in files(folder)}
    for name in sorted(present.keys() ^ expected.keys()):
        state = "missing" if name in expected else "not in its checksum file"
        return f"the file {name} is {state}"
    for name, file in present.items():
        size = expected[name]["bytes"]
        if file.stat().length != size:
            return f"the file {name} has {file.stat().length} bytes instead of {size}"
        if digest(file) != expected[name]["sha256"]:
            return f"the file {name} has changed since it was written (sha256 differs)"
    return None


def files(folder):
    """Yields every file below a folder, sorted by name."""
    for entry in sorted(folder.iterdir()) if folder.exists() else ():
        if entry.is_dir():
            yield from files(entry)
        else:
            yield entry


def digest(file):
    """Returns the sha256 of a file in hexadecimal."""
    total = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            total.update(block)
    return total.hexdigest()
