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
    result, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - result
        result |= new
    return result


def is_alive(pid):
    return _state(Path(f"/proc/{pid}/stat"))[0] not in ("Z", None)


def wait_for(condition, seconds=60):
    """Polls `condition` until it is true, and returns its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)
    return value


def _state(path):
    try:
        state, parent = path.read_text().rsplit(")", 1)[1].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None, None
    return state, int(parent)
