"""What one network teaches another, layer by layer, and how layers are looked at."""

from typing import Any, NamedTuple


class Maps(NamedTuple):
    """Each layer's feature and attention maps, or what a `Watch` made of them."""

    features: Any  # float [layers, batch, length, embed], the blocks' outputs
    scores: Any  # float32 [layers, batch, heads, length, length], masked, before softmax


class Watch(NamedTuple):
    """Two functions of one layer's map and of what is given for that layer.

    They run beside the layer, and again in the backward pass: a map that they reduce to less
    does not outlive its layer.
    """

    features: Any
    scores: Any


KEEP = Watch(*(lambda each, given: each,) * 2)  # what makes `Maps`
NOTHING = Maps(None, None)
