"""One checksum file a checkpoint, written last: what it vouches for is complete and intact.

Orbax restores a flipped bit without a word, so the bytes are ours to check.
"""

import hashlib
import json
import os

from etils import epath


def write(folder, path):
    """Hashes every file below `folder` and writes the table to `path`, atomically."""
    folder = epath.Path(folder)
    table = {
        str(file.relative_to(folder)): {"bytes": file.stat().length, "sha256": digest(file)}
        for file in files(folder)
    }
    write_atomically(path, json.dumps({"files": table}, indent=1, sort_keys=True))


def reason(folder, path):
    """Why a checkpoint cannot be trusted, in words; None when it can be.

    A folder without a checksum file is not trusted: the process was stopped before the
    save was finished, and nothing tells whether its bytes are what was meant.
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
    """Every file below a folder, in order of names."""
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            yield from files(entry)
        else:
            yield entry


def digest(file):
    """sha256 of a file as hexadecimal digits."""
    total = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            total.update(block)
    return total.hexdigest()


def write_atomically(path, text):
    """The file has all of the text or does not exist, whenever the process is killed."""
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if "://" in str(path):  # an object store shows an object only once it is whole
        path.write_text(text)
        return
    draft = f"{path}.tmp"
    with open(draft, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(draft, path)
    sync_folder(os.path.dirname(path))


def sync_folder(folder):
    """Makes new names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
