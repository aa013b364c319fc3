"""Files of the operating system: sync to disk, names in errors, cache folder of the user."""

import contextlib
import errno
import hashlib
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


def sha256(path):
    """Returns the sha256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def named(path):
    """Adds the path to errors of the system that name no file, as those of writing do."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def error_of(message, path):
    """Returns the OSError whose reason a library gives as text only; without one, EIO."""
    reasons = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)
    number = next((each for each in reasons if os.strerror(each) in message), errno.EIO)
    return OSError(number, os.strerror(number), str(path))


def user_cache():
    """Returns the cache folder of the user: compiled programs and the default corpus."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return home / "bertgrow"


def write_atomically(path, content):
    """Writes a file and its folder: complete, or not at all.

    Args:
      path: `pathlib.Path` or `epath.Path`.
      content: bytes, or text to be written as UTF-8.

    Raises:
      OSError: with the name of the file; an older version of it is unchanged.
    """
    content = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    if "://" in str(path):  # object stores write an object atomically
        path.write_bytes(content)
        return
    draft = f"{path}.tmp"
    try:
        with named(path), open(draft, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(draft)
        raise
    sync(path.parent)


def write_all(file, data):
    """Writes all bytes to an unbuffered file, whose `write` may write a part only."""
    while data:
        data = data[file.write(data) :]
