"""Where a student's targets come from: the frozen teacher, or a cache of what it said."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from mobilebert.distill import soft_labels, targets


class Teacher(NamedTuple):
    """What a student can ask for; `frozen` is the teacher's parameters, or nothing.

    `maps(frozen, inputs, now) -> Maps` of the layer that answers to the student's layer `now`,
    their leading axis 1, or for all layers of the student where `now` is None.
    `labels(frozen, inputs) -> SoftLabels` at the hidden positions.
    `is_live`: whether it can be asked about any row, such as a held-out one.
    """

    maps: Any
    labels: Any
    is_live: bool


def live(network, maps, layers):
    """A teacher that runs beside its student, without dropout.

    Args:
      network: the teacher's `Network`.
      maps: its function (params, inputs, active=None) -> Maps, see `nn.maps`.
      layers: int [student layers], the teacher's layer for each of the student's.
    """

    def all_or_one(frozen, inputs, now):
        if now is not None:
            return maps(frozen, inputs, jnp.asarray(layers)[now])
        found = maps(frozen, inputs)
        if len(found.features) == len(layers):  # each for itself, and no copies
            return found
        return type(found)(*(each[jnp.asarray(layers)] for each in found))

    def labels(frozen, inputs):
        return soft_labels.SoftLabels(network.apply(frozen, inputs)["mlm_logits"])

    return Teacher(all_or_one, labels, is_live=True)


def cached():
    """A teacher that is not there: what it said is in `inputs`, as `targets.ask` left it."""
    return Teacher(targets.maps, targets.labels, is_live=False)
