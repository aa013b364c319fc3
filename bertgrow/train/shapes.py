"""Batches of several shapes: a function is compiled once for each."""

import jax


class ByShape:
    """A compiled function of (weights, frozen, batch, ...) for batches of several shapes.

    Args:
      compile: function (batch) -> compiled function for batches of this shape.
      batches: those to compile for at once; others compile at their first call.
    """

    def __init__(self, compile, batches=()):
        self._compile, self._compiled = compile, {}
        for batch in batches:
            self._of(batch)

    def __call__(self, weights, frozen, batch, *others):
        return self._of(batch)(weights, frozen, batch, *others)

    def _of(self, batch):
        shape = _shape(batch)
        if shape not in self._compiled:
            self._compiled[shape] = self._compile(batch)
        return self._compiled[shape]


def distinct(batches):
    """The first batch of each shape."""
    first = {}
    for batch in batches:
        first.setdefault(_shape(batch), batch)
    return list(first.values())


def _shape(batch):
    return tuple(leaf.shape for leaf in jax.tree.leaves(batch))
