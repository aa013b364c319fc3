"""Limits of the operating system inside a context."""

import contextlib
import resource


@contextlib.contextmanager
def file_size(limit):
    """No file of this process may grow beyond `limit` bytes: as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
