"""Checksum files: detect incomplete and damaged checkpoints.

Each checkpoint has one checksum file, which is written last. Orbax does not detect a flipped
bit when it restores, so this module checks the bytes.
"""

import hashlib
import json
import os

from etils import epath

from bertgrow.core import system_files


def write(folder, path):
    """Hashes every file below `folder` and writes the table to `path`, atomically."""
    folder = epath.Path(folder)
    table = {
        str(file.relative_to(folder)): {"bytes": file.stat().length, "sha256": digest(file)}
        for file in files(folder)
    }
    write_atomically(path, json.dumps({"files": table}, indent=1, sort_keys=True))


def reason(folder, path):
    """Returns why a checkpoint is incomplete or damaged, as text; None if it is intact.

    A folder without a checksum file counts as incomplete: the process stopped before the save
    was finished, and its bytes cannot be verified.
    """
    folder, path = epath.Path(folder), epath.Path(path)
    if not path.exists():
        return "it has no checksum file: the process was stopped before the save was complete"
    try:
        table = json.loads(path.read_text())["files"]
        expected = [(name, row["bytes"], row["sha256"]) for name, row in table.items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"its checksum file {path.name} is damaged"
    for name, size, sha256 in expected:
        file = folder / name
        if not file.exists():
            return f"the file {name} is missing"
        if file.stat().length != size:
            return f"the file {name} has {file.stat().length} bytes instead of {size}"
        if digest(file) != sha256:
            return f"the file {name} has changed since it was written (sha256 differs)"
    return None


def files(folder):
    """Yields every file below a folder, sorted by name."""
    for entry in sorted(folder.iterdir()):
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


def write_atomically(path, text):
    """Writes a file atomically: a killed process leaves no partly written file."""
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if "://" in str(path):  # object stores write an object atomically
        path.write_text(text)
        return
    draft = f"{path}.tmp"
    with open(draft, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(draft, path)
    system_files.sync(os.path.dirname(path))
