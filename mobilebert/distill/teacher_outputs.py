"""Teacher outputs, from the frozen teacher or from arrays in the batch that a cache has stored.

A cache stores arrays per sequence, so that a student trains without its teacher. The sequence
is the first axis of every array, as in a batch. Half precision is enough for bounded values:
attention is stored as probabilities, soft labels as logits minus the largest one. Feature maps
are not bounded: float16 ends at 65,504, the range of bfloat16 is larger.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bertgrow.models import encoder
from mobilebert.distill import soft_labels
from mobilebert.models.encoder import Maps

# Names in a batch. `cache.json` holds a hash of them: another name makes old caches useless.
FEATURES, ATTENTION, LOGITS, TOKENS = NAMES = (
    "teacher_features", "teacher_attention", "teacher_logits", "teacher_pieces",
)  # fmt: skip


class Teacher(NamedTuple):
    """Functions that return a teacher's outputs; `frozen` holds its parameters, or nothing.

    `maps(frozen, inputs, layer) -> Maps` of the teacher layer matched to the student's layer
    `layer`, with a leading axis of 1; for all layers of the student if `layer` is None.
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

    def all_or_one(frozen, inputs, layer):
        if layer is not None:
            return maps(frozen, inputs, jnp.asarray(layers)[layer])
        teacher_maps = maps(frozen, inputs)
        if len(teacher_maps.features) == len(layers):  # one to one: no copies
            return teacher_maps
        return Maps(*(layer_map[jnp.asarray(layers)] for layer_map in teacher_maps))

    def labels(frozen, inputs):
        return soft_labels.SoftLabels(network.apply(frozen, inputs)["mlm_logits"])

    return Teacher(all_or_one, labels, is_live=True)


def cached():
    """Teacher backed by the arrays in `inputs` that `targets` made."""
    return Teacher(_cached_maps, _cached_labels, is_live=False)


def fields(model, *, layers, length, max_predictions, dtype, attention, top_k):
    """{name: (shape, dtype)} of the arrays of one sequence.

    Args:
      model: `MobileBertConfig` of the student.
      layers: number of layers whose maps are stored; 0: none.
      length, max_predictions: tokens and masked positions of a sequence.
      dtype: of the feature maps, by name.
      attention: whether attention probabilities are stored too.
      top_k: soft labels per prediction; 0: none.
    """
    dtype = jnp.dtype(dtype)
    bounded = jnp.dtype("float32" if dtype == jnp.float32 else "float16")
    fields = {}
    if layers:
        fields[FEATURES] = ((layers, length, model.width), dtype)
    if layers and attention:
        fields[ATTENTION] = ((layers, model.num_heads, length, length), bounded)
    if top_k:
        shape = (max_predictions, min(top_k, model.vocab_size))
        integers = jnp.dtype("uint16" if model.vocab_size <= 2**16 else "int32")
        fields |= {LOGITS: (shape, bounded), TOKENS: (shape, integers)}
    return fields


def targets(teacher, fields, active=None):
    """Builds the function (frozen, inputs, step) -> {name: array [batch, ...]} of all `fields`.

    Args:
      teacher: a live `Teacher`.
      fields: as above.
      active: function of the step -> the student's layer that trains; None: all layers.
    """

    def run(frozen, inputs, step):
        arrays = {}
        if FEATURES in fields:
            maps = teacher.maps(frozen, inputs, None if active is None else active(step))
            arrays[FEATURES] = jnp.swapaxes(maps.features, 0, 1)
        if ATTENTION in fields:
            arrays[ATTENTION] = jnp.swapaxes(jax.nn.softmax(maps.scores), 0, 1)
        if LOGITS in fields:
            logits = teacher.labels(frozen, inputs).logits
            best = soft_labels.top(logits, fields[LOGITS][0][-1])
            arrays |= {LOGITS: best.logits, TOKENS: best.tokens}
        return {name: arrays[name].astype(dtype) for name, (_, dtype) in fields.items()}

    return run


def _cached_maps(frozen, inputs, layer):
    """`Teacher.maps` from the cached arrays in `inputs`; they hold only the required layers."""
    del frozen, layer
    features = jnp.swapaxes(inputs[FEATURES], 0, 1)
    if ATTENTION not in inputs:
        return Maps(features, None)
    probs = jnp.swapaxes(inputs[ATTENTION], 0, 1).astype(jnp.float32)
    scores = jnp.where(probs > 0, jnp.log(jnp.where(probs > 0, probs, 1)), encoder.NEVER)
    return Maps(features, scores)


def _cached_labels(frozen, inputs):
    """`Teacher.labels` from the cached arrays in `inputs`."""
    del frozen
    return soft_labels.SoftLabels(inputs[LOGITS], inputs[TOKENS].astype(jnp.int32))
