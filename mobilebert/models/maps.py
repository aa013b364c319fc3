"""Feature and attention maps of layers, and hooks on them."""

from typing import Any, NamedTuple


class Maps(NamedTuple):
    """Feature and attention maps of each layer, or the outputs of a `Watch` hook."""

    features: Any  # float [layers, batch, length, embed], the blocks' outputs
    scores: Any  # float32 [layers, batch, heads, length, length], masked, before softmax


class Watch(NamedTuple):
    """Hook: two functions of one layer's map and of an extra input for that layer.

    They run within the layer, and again in the backward pass, so a map that they reduce to a
    smaller value is not kept in memory after its layer.
    """

    features: Any
    scores: Any


KEEP = Watch(*(lambda each, given: each,) * 2)  # returns the `Maps` themselves
NOTHING = Maps(None, None)
