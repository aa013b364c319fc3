"""Sources of teacher outputs: the frozen teacher, or cached targets in the batch."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from mobilebert.distill import soft_labels, targets


class Teacher(NamedTuple):
    """Functions that return a teacher's outputs; `frozen` holds its parameters, or nothing.

    `maps(frozen, inputs, now) -> Maps` of the teacher layer matched to the student's layer
    `now`, with a leading axis of 1; for all layers of the student if `now` is None.
    `labels(frozen, inputs) -> SoftLabels` at the masked positions.
    `is_live`: whether the outputs are available for any sequence, e.g. a held-out one.
    """

    maps: Any
    labels: Any
    is_live: bool


def live(network, maps, layers):
    """Teacher that runs in the train step, without dropout.

    Args:
      network: the teacher's `Network`.
      maps: its function (params, inputs, active=None) -> Maps, see `models.mobilebert.maps`.
      layers: int [student layers], the teacher's layer for each of the student's.
    """

    def all_or_one(frozen, inputs, now):
        if now is not None:
            return maps(frozen, inputs, jnp.asarray(layers)[now])
        found = maps(frozen, inputs)
        if len(found.features) == len(layers):  # one to one: no copies
            return found
        return type(found)(*(each[jnp.asarray(layers)] for each in found))

    def labels(frozen, inputs):
        return soft_labels.SoftLabels(network.apply(frozen, inputs)["mlm_logits"])

    return Teacher(all_or_one, labels, is_live=True)


def cached():
    """Teacher backed by cached targets in `inputs`, in the format of `targets.ask`."""
    return Teacher(targets.maps, targets.labels, is_live=False)
