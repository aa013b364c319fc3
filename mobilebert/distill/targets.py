"""Cached teacher targets: arrays per sequence, so that a student trains without its teacher.

The sequence is the first axis of every array, as in a batch. Half precision is enough for
bounded values: attention is stored as probabilities, soft labels as logits minus the largest
one. Feature maps are not bounded: float16 ends at 65,504, the range of bfloat16 is larger.
"""

import jax
import jax.numpy as jnp

from bertgrow.models import encoder
from mobilebert.distill import soft_labels
from mobilebert.models.maps import Maps

FEATURES, ATTENTION, LOGITS, PIECES = NAMES = (
    "teacher_features", "teacher_attention", "teacher_logits", "teacher_pieces",
)  # fmt: skip


def fields(model, *, layers, length, slots, dtype, attention, top_k):
    """{name: (shape, dtype)} of the arrays of one sequence.

    Args:
      model: `MobileBertConfig` of the student.
      layers: number of layers whose maps are stored; 0: none.
      length, slots: tokens and maximum predictions of a sequence.
      dtype: of the feature maps, by name.
      attention: whether attention probabilities are stored too.
      top_k: soft labels per prediction; 0: none.
    """
    kind = jnp.dtype(dtype)
    bounded = jnp.dtype("float32" if dtype == "float32" else "float16")
    found = {}
    if layers:
        found[FEATURES] = ((layers, length, model.width), kind)
    if layers and attention:
        found[ATTENTION] = ((layers, model.num_heads, length, length), bounded)
    if top_k:
        labels = (slots, min(top_k, model.vocab_size))
        pieces = jnp.dtype("uint16" if model.vocab_size <= 2**16 else "int32")
        found |= {LOGITS: (labels, bounded), PIECES: (labels, pieces)}
    return found


def ask(teacher, fields, active=None):
    """Builds the function (frozen, inputs, step) -> {name: array [batch, ...]} of all `fields`.

    Args:
      teacher: a live `Teacher`.
      fields: as above.
      active: function of the step -> the student's layer that trains; None: all layers.
    """

    def run(frozen, inputs, step):
        found = {}
        if FEATURES in fields:
            told = teacher.maps(frozen, inputs, None if active is None else active(step))
            found[FEATURES] = jnp.swapaxes(told.features, 0, 1)
        if ATTENTION in fields:
            found[ATTENTION] = jnp.swapaxes(jax.nn.softmax(told.scores), 0, 1)
        if LOGITS in fields:
            logits = teacher.labels(frozen, inputs).logits
            best = soft_labels.top(logits, fields[LOGITS][0][-1])
            found |= {LOGITS: best.logits, PIECES: best.pieces}
        return {name: found[name].astype(dtype) for name, (_, dtype) in fields.items()}

    return run


def maps(frozen, inputs, now):
    """`Teacher.maps` from the cached arrays in `inputs`; they hold only the required layers."""
    del frozen, now
    features = jnp.swapaxes(inputs[FEATURES], 0, 1)
    if ATTENTION not in inputs:
        return Maps(features, None)
    shares = jnp.swapaxes(inputs[ATTENTION], 0, 1).astype(jnp.float32)
    scores = jnp.where(shares > 0, jnp.log(jnp.where(shares > 0, shares, 1)), encoder.NEVER)
    return Maps(features, scores)


def labels(frozen, inputs):
    """`Teacher.labels` from the cached arrays in `inputs`."""
    del frozen
    return soft_labels.SoftLabels(inputs[LOGITS], inputs[PIECES].astype(jnp.int32))
