"""Starts processes for tests and lists live ones, read from /proc."""

import os
import subprocess
import sys
import time
from pathlib import Path

import bertgrow


def start(script, *arguments, **options):
    """Runs a script in a process that imports the package under test."""
    root = Path(bertgrow.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, **options)


def descendants(pid):
    """Process ids of all living descendants."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        state, parent = _state(path)
        if state not in ("Z", None):
            parents[int(path.parent.name)] = parent
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return found


def is_alive(pid):
    return _state(Path(f"/proc/{pid}/stat"))[0] not in ("Z", None)


def wait_for(claim, seconds=60):
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (found := claim()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def _state(path):
    try:
        state, parent = path.read_text().rsplit(")", 1)[1].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None, None
    return state, int(parent)
