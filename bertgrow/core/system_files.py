"""Functions for files of the operating system: sync to disk, cache folder of the user."""

import os
from pathlib import Path


def sync(path):
    """Writes a file or folder to disk, so that it survives a power failure.

    A folder stores the names of its files: sync it after a file was created or renamed.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def user_cache():
    """Returns the cache folder of the user: compiled programs and the default corpus."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return home / "bertgrow"
