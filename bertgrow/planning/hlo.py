"""Walks the text of a compiled program, with the number of times that each line is executed.

The text is that after XLA has partitioned the program for the mesh, `compiled.as_text()`. Loops
are counted by their number of iterations, e.g. once for every layer.
"""

import re
from typing import NamedTuple

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) .*\{$")
_CALLED = re.compile(r"\b(?:body|to_apply|calls)=%?([\w.-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CONDITION = re.compile(r"\bcondition=%?([\w.-]+)")
_LIMIT = re.compile(r"= s32\[\](?:\{.*?\})? constant\((\d+)\)")


class Line(NamedTuple):
    """One operation of a program."""

    text: str
    times: int  # that one run of the program executes it
    computation: str  # name of the computation that contains it


def walk(text, is_leaf):
    """Yields every `Line` that a program executes, also in loops, branches and fusions.

    Args:
      text: `compiled.as_text()`.
      is_leaf: function of the text of a line; the computations that a leaf calls are skipped.
    """
    bodies, entry = _computations(text)
    yield from _walk(entry, 1, bodies, is_leaf)


def _computations(text):
    """{name: lines} of every computation, and the name of the entry."""
    bodies, name, entry = {}, None, None
    for line in text.splitlines():
        line = line.rstrip()
        if match := _COMPUTATION.match(line):
            name = match[2]
            bodies[name] = []
            entry = name if match[1] else entry
        elif name and line.startswith(" "):
            bodies[name].append(line)
    return bodies, entry


def _walk(name, times, bodies, is_leaf):
    for line in bodies.get(name, ()):
        yield Line(line, times, name)
        if is_leaf(line):
            continue
        trips = _trips(line, bodies)
        called = _CALLED.findall(line)
        if branches := _BRANCHES.search(line):
            called += [each.strip().lstrip("%") for each in branches[1].split(",")]
        for each in called:
            yield from _walk(each, times * trips, bodies, is_leaf)


def _trips(line, bodies):
    """Iterations of a loop; 1 for a line that is none.

    The TPU compiler leaves the number out. There it is the only limit of the condition, because
    the loops of `jax.lax.scan` count from zero.
    """
    if match := _TRIPS.search(line):
        return int(match[1])
    if not (match := _CONDITION.search(line)):
        return 1
    limits = {each for inner in bodies.get(match[1], ()) for each in _LIMIT.findall(inner)}
    return int(limits.pop()) if len(limits) == 1 else 1
