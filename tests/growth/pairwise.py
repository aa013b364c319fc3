"""Small set of combinations that contains every pair of choices at least once."""

import itertools


def cover(**choices):
    """Dicts of one value each, such that any two values of two choices meet in one of them.

    Greedy: always the combination with the most pairs that have not met.
    """
    names = list(choices)
    left = {
        ((a, x), (b, y))
        for a, b in itertools.combinations(names, 2)
        for x in choices[a]
        for y in choices[b]
    }
    every = [
        tuple(zip(names, values, strict=True))
        for values in itertools.product(*choices.values())
    ]
    while left:
        best = max(every, key=lambda row: len(left.intersection(_pairs(row))))
        left -= set(_pairs(best))
        yield dict(best)


def _pairs(row):
    return itertools.combinations(row, 2)
