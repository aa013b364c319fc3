"""On-disk cache of what compiled programs need, so that a plan compiles a stage only once.

JAX's own cache cannot read a program for a device that is absent. The key holds a digest of the
sources and the versions of the packages: any change of them compiles anew.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path

PACKAGES = ("jax", "jaxlib", "libtpu", "flax", "optax")


def get(key, compute):
    """Returns the stored result of a key; else computes, stores and returns it.

    Args:
      key: name of a file.
      compute: function that returns plain data.
    """
    path = folder() / f"{key}.json"
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        pass
    result = compute()
    with contextlib.suppress(OSError):  # a full or read-only disk costs the cache only
        _write(path, json.dumps(result))
    return result


def folder():
    """The folder of the cache, below XDG_CACHE_HOME or ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "bertgrow" / "compiled"


@functools.cache
def code():
    """Digest of the sources and versions that determine a compiled program."""
    digest = hashlib.sha256(repr([*map(_version, PACKAGES), sys.version]).encode())
    families = importlib.metadata.entry_points(group="bertgrow.families")
    for name in sorted({point.module.split(".")[0] for point in families}):
        folder = Path(importlib.util.find_spec(name).origin).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _write(path, text):
    """Writes a file that other processes see whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    os.replace(file.name, path)


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
