"""Compares two recipes, or any nested plain data, field by field."""

import itertools


def differences(old, new, name=""):
    """Yields (dotted name, old value, new value) for every leaf that differs.

    A leaf that is missing in one of the two has the value None there.
    """
    if _are(dict, old, new):
        old, new = old or {}, new or {}
        for key in sorted(old.keys() | new.keys()):
            inner = f"{name}.{key}" if name else key
            yield from differences(old.get(key), new.get(key), inner)
    elif _are(list, old, new):
        pairs = itertools.zip_longest(old or [], new or [])
        for index, (a, b) in enumerate(pairs):
            yield from differences(a, b, f"{name}[{index}]")
    elif old != new:
        yield name, old, new


def _are(kind, old, new):
    """Whether both values are of this type, or one is and the other is missing."""
    return isinstance(old or new, kind) and all(
        each is None or isinstance(each, kind) for each in (old, new)
    )
