"""Damages of JSON files as a hypothesis strategy: keys, types, cuts, bits."""

import copy
import json

from hypothesis import strategies

VALUES = (None, True, -1, 1.5, 10**30, "x", "\ud800", [], {}, [[]], [{}])


def of(text):
    """Strategy of damaged versions (bytes) of a JSON text or of JSON lines."""
    data = text.encode()
    places = strategies.integers(0, len(data) - 1)
    return strategies.one_of(
        places.map(lambda end: data[:end]),
        strategies.builds(lambda at, bit: _flipped(data, at, bit), places, BITS),
        strategies.builds(lambda n, value: _changed(text, n, value), NUMBERS, CHANGES),
        strategies.sampled_from([b"", b"null", b"[]", b"{}", b"3\n", b"[" * 100_000, b"\xff"]),
    )


REMOVED = object()
BITS = strategies.integers(0, 7)
NUMBERS = strategies.integers(0, 10**6)
CHANGES = strategies.sampled_from([REMOVED, *VALUES])


def _flipped(data, at, bit):
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def _changed(text, number, value):
    """The text with one key or item of one of its lines removed or replaced."""
    lines = [text] if text.startswith("{\n") else text.splitlines()
    index = number % len(lines)
    content = json.loads(lines[index])
    places = list(_places(content))
    *path, last = places[number // len(lines) % len(places)]
    inner = content
    for key in path:
        inner = inner[key]
    if value is REMOVED:
        del inner[last]
    else:
        inner[last] = copy.deepcopy(value)
    lines[index] = json.dumps(content)
    return ("\n".join(lines) + "\n").encode()


def _places(value, path=()):
    """Yields the path of every key and item below a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield *path, key
        if isinstance(inner, (dict, list)):
            yield from _places(inner, (*path, key))
