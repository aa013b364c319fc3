"""Lengths of batches: few of them, since each compiles once."""

import bisect
import itertools

SHORTEST, FINE = 8, 32  # tokens; lengths are multiples of 8, and above 32 they are sparse
LEAST = 0.03  # share of the tokens of a run that a length saves, or it is not worth compiling


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


def worthwhile(lengths, batches):
    """Leaves out lengths whose batches may as well be as long as the next length.

    Args:
      lengths: ascending.
      batches: {length: number of batches of a run}.
    """
    lengths, batches = list(lengths), dict.fromkeys(lengths, 0) | batches
    total = sum(length * count for length, count in batches.items())
    while len(lengths) > 1:
        saved = {
            length: batches[length] * (longer - length)
            for length, longer in itertools.pairwise(lengths)
        }
        least = min(saved, key=saved.get)
        if saved[least] >= LEAST * total:
            break
        batches[lengths[lengths.index(least) + 1]] += batches[least]
        lengths.remove(least)
    return tuple(lengths)


def fitting(lengths, tokens):
    """The smallest of ascending `lengths` with room for so many tokens."""
    return lengths[bisect.bisect_left(lengths, tokens)]
