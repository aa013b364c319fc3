"""Lists the collectives of a compiled program: what moves between devices, and how often."""

import math
import re
from typing import NamedTuple

from bertgrow.planning import hlo

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4}

_CALL = re.compile(rf"= (.+?) ({'|'.join(KINDS)})(-start)?\(")
# On a TPU a reduce-scatter is a fusion of an all-reduce and a slice of its result.
_SCATTER = re.compile(r"= (.+?) fusion\(.*\bcalls=%?all-reduce-scatter")
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
    counts = {}
    for line in hlo.walk(text, is_leaf=is_collective):
        for key in _of_line(line.text):
            counts[key] = counts.get(key, 0) + line.times
    found = [Collective(*key, count) for key, count in counts.items()]
    return sorted(found, key=lambda each: (-each.bytes * each.count, each))


def is_collective(line):
    """Whether a line of a program's text moves arrays between devices."""
    return bool(_CALL.search(line) or _SCATTER.search(line))


def _of_line(line):
    """Yields (kind, dtype, shape) of the arrays that a line moves."""
    if match := _SCATTER.search(line):
        kind, arrays = "reduce-scatter", _arrays(match[1])
    elif match := _CALL.search(line):
        kind, arrays = match[2], _arrays(match[1])
        if match[3] and kind != "all-reduce" and len(arrays) > 1:
            # An asynchronous start lists its operands, its results and its context, scalars.
            arrays = [array for array in arrays if array != ("u32", ())]
            arrays = arrays[len(arrays) // 2 :]
    else:
        return
    for dtype, shape in arrays:
        yield kind, dtype, shape


def _arrays(result):
    """(dtype, shape) of the arrays of a result."""
    return [
        (dtype, tuple(int(size) for size in sizes.split(",") if size))
        for dtype, sizes in _ARRAY.findall(re.sub(r"\{[^}]*\}", "", result))
    ]
