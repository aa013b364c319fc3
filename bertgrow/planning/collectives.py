"""Lists the collectives of a compiled program: what moves between devices, and how often.

It reads the program's text after XLA has partitioned it for the mesh. Loops are counted by
their number of iterations, e.g. once for every layer.
"""

import math
import re
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4}

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) .*\{$")
_CALL = re.compile(rf"= (.+?) ({'|'.join(KINDS)})(-start)?\(")
_BODY = re.compile(r"\b(?:body|to_apply|calls)=%?([\w.-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")


class Collective(NamedTuple):
    """One collective of a program, per device."""

    kind: str
    dtype: str
    shape: tuple
    count: int  # times that one run of the program executes it

    @property
    def bytes(self):
        """Bytes of its result in one execution."""
        return math.prod(self.shape) * WIDTHS.get(self.dtype, 4)


def of_program(text):
    """Returns the collectives of a compiled program, those that move most bytes first.

    Args:
      text: `compiled.as_text()`.
    """
    bodies, entry = _computations(text)
    counts = {}
    _count(entry, 1, bodies, counts)
    collectives = [Collective(*key, count) for key, count in counts.items()]
    return sorted(collectives, key=lambda each: -each.bytes * each.count)


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


def _count(name, times, bodies, counts):
    """Adds the collectives of a computation that is executed `times` times."""
    for line in bodies.get(name, ()):
        if call := _CALL.search(line):
            for dtype, shape in _arrays(call[1], call[2], bool(call[3])):
                key = (call[2], dtype, shape)
                counts[key] = counts.get(key, 0) + times
            continue
        trips = int(match[1]) if (match := _TRIPS.search(line)) else 1
        inner = _BODY.findall(line)
        if branches := _BRANCHES.search(line):
            inner += [each.strip().lstrip("%") for each in branches[1].split(",")]
        for each in inner:
            _count(each, times * trips, bodies, counts)


def _arrays(result, kind, is_start):
    """The arrays of a collective's result; an asynchronous start also lists its operands."""
    arrays = [
        (dtype, tuple(int(size) for size in sizes.split(",") if size))
        for dtype, sizes in _ARRAY.findall(result)
    ]
    if is_start and kind != "all-reduce" and len(arrays) > 1:
        return arrays[len(arrays) // 2 : len(arrays) // 2 * 2]
    return arrays
