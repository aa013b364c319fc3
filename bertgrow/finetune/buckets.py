"""Lengths of batches: few of them, since each compiles once."""

import bisect

SHORTEST, FINE = 8, 32  # tokens; lengths are multiples of 8, and above 32 they are sparse


def lengths(sets, limit):
    """Ascending lengths of the batches of several sets, at most `limit` tokens.

    8, 16, 24, 32, 48, 64, 96, 128, ...: a sequence above 16 tokens fills at least two thirds
    of its bucket, apart from rounding. The last length is that of the longest sequence,
    rounded up to a multiple of 8.
    """
    longest = max(int(sequences.sizes.max()) for sequences in sets)
    last = min(limit, -(-longest // SHORTEST) * SHORTEST)
    found, length = [], SHORTEST
    while length < last:
        found.append(length)
        is_power = length & (length - 1) == 0
        if length < FINE:
            length += SHORTEST
        else:
            length = length * 3 // 2 if is_power else length * 4 // 3
    return (*found, last)


def fitting(lengths, tokens):
    """The smallest of ascending `lengths` with room for so many tokens."""
    return lengths[bisect.bisect_left(lengths, tokens)]
