"""Small files, written so that a reader sees the old or the new one and never half."""

import os


def write_text(path, text):
    """Writes a local file atomically: a temporary name, then a rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".tmp")
    with open(half, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
