"""Copies weights from teacher to student by name, with a certificate of every leaf.

Copies all weights outside the blocks that both models have: token, position and type tables,
the trigram projection, the masked-token head and the next-sentence head (google-research,
mobilebert; for AKT, JKT and PKT). TensorFlow's Model Garden copies by order instead, and
swaps scale and shift of the embedding norm.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors, tree
from bertgrow.growth import named_tree

FIELDS = {  # axes that must be equal, and the configuration field of each
    "vocab": "vocab_size",
    "embed": "width",
    "table": "table_width",
    "positions": "max_length",
    "types": "num_types",
    "heads": "num_heads",
}
NORMS = ("identity", "least_squares", "copy")
NORM = "embeddings/norm"


def check(student, teacher):
    """Raises InputError, with both sizes, if a teacher does not fit a student.

    Args:
      student, teacher: {axis: size} of `Family.sizes`.
    """
    for axis, field in FIELDS.items():
        if student[axis] != teacher[axis]:
            raise errors.InputError(
                f"distill: the teacher has {field} {teacher[axis]} and the student "
                f"{student[axis]}; they must be equal: change {field} of the student"
            )
    layer_map(student["layers"], teacher["layers"])


def check_norm(rule, student, teacher):
    """Raises InputError if a rule for the embedding norm does not suit two models.

    Scale and shift of one kind of norm do not fit another: those of a LayerNorm apply to
    normalised features. With the same kind in both models only a copy is allowed, because the
    copied tables were trained with that norm. A folded norm has no parameters to fit.

    Args:
      rule: one of `NORMS`.
      student, teacher: `norm` of their configurations.
    """
    fitting = ("identity",) if student == "folded" else ("identity", "least_squares")
    fitting = ("copy",) if student == teacher else fitting
    if rule not in fitting:
        raise errors.InputError(
            f"config.transfer.embedding_norm is {rule!r} with norm {teacher!r} in the teacher "
            f"and {student!r} in the student; set it to {' or '.join(fitting)}"
        )


def layer_map(student_layers, teacher_layers):
    """Teacher layer for each student layer: int [student layers].

    The teacher is split into equal groups of layers, and the last layer of each group is used
    (MobileBERT-EdgeTPU: the student's depth divides the teacher's). Raises InputError if it
    does not divide.
    """
    if not 0 < student_layers <= teacher_layers or teacher_layers % student_layers:
        raise errors.InputError(
            f"distill: a teacher of {teacher_layers} layers and a student of {student_layers}; "
            "the student's depth must divide the teacher's: change num_layers of the student"
        )
    return (np.arange(student_layers) + 1) * (teacher_layers // student_layers) - 1


def copy(student, teacher, *, embedding_norm="identity", embed=None):
    """Copies teacher weights into a student and returns a record of every leaf.

    The teacher's next-sentence head was trained on pooled vectors, and the student's gets raw
    vectors. It is copied as published and trains with the other weights.

    Args:
      student: fresh parameters.
      teacher: trained parameters.
      embedding_norm: for a student without LayerNorm, "identity": initial values, as
        published; or "least_squares": scale and shift that best fit the teacher's embeddings,
        see `fit`. For a student with LayerNorm, "copy".
      embed: for "least_squares", a function (parameters of the student) -> the embeddings of
        student and teacher on one probe batch, each float [batch, length, width], and the
        token weights, float [batch, length].

    Returns:
      Parameters of the student, and rows {"path", "what", "why"} in the order of its tree.
      `what` is copied, fitted or fresh; or left, for a leaf that only the teacher has.
    """
    if embedding_norm not in NORMS:
        raise errors.InputError(
            f"distill: embedding_norm is {embedding_norm!r}; expected {', '.join(NORMS)}"
        )
    weights, rows = named_tree.by_path(teacher), []

    def at_leaf(path, leaf):
        path = tree.path_name(path)
        what, why = _fate(path, weights, embedding_norm)
        if not path.startswith("layers/"):
            rows.append({"path": path, "what": what, "why": why})
        return _same_shape(path, weights[path], leaf) if what == "copied" else leaf

    copied = jax.tree_util.tree_map_with_path(at_leaf, student)
    rows.append({"path": "layers", "what": "fresh", "why": "learnt by transfer"})
    unused = weights.keys() - named_tree.by_path(student).keys()
    rows += [
        {"path": path, "what": "left", "why": "the student has none"}
        for path in sorted(unused)
        if not path.startswith("layers/")
    ]
    if embedding_norm == "least_squares":
        norm, unexplained = fit(*embed(copied))
        copied = copied | {"embeddings": copied["embeddings"] | {"norm": norm}}
        for row in rows:
            if row["what"] == "fitted":
                row["why"] += f"; {float(unexplained):.1%} of its variance is unexplained"
    return copied, rows


def fit(before, after, token_weights):
    """Least-squares scale and shift per channel from `before` to `after`.

    Args:
      before: float [batch, length, width], embeddings with scale 1 and shift 0.
      after: float, same shape, the teacher's embeddings.
      token_weights: float [batch, length], sum to one.

    Returns:
      {"scale", "bias"}, float32 [width], and the fraction of unexplained variance, a scalar.
    """
    before, after = before.astype(jnp.float32), after.astype(jnp.float32)

    def mean(values):
        return jnp.sum(values * token_weights[..., None], axis=(0, 1), keepdims=True)

    x, y = before - mean(before), after - mean(after)
    spread = mean(x * x)
    scale = jnp.where(spread > 0, mean(x * y) / jnp.where(spread > 0, spread, 1), 1)
    bias = mean(after) - scale * mean(before)
    unexplained = mean(jnp.square(y - scale * x)).sum() / mean(y * y).sum()
    return {"scale": scale[0, 0], "bias": bias[0, 0]}, unexplained


def _fate(path, teacher_weights, embedding_norm):
    """What is done with a leaf of the student, and why."""
    if path.startswith("layers/"):
        return "fresh", "learnt by transfer"
    if path.startswith("pooler/"):
        return "fresh", "the teacher's head was trained on its own last features"
    if path.startswith(f"{NORM}/") and embedding_norm == "least_squares":
        return "fitted", "to the teacher's embeddings"
    if path.startswith(f"{NORM}/") and embedding_norm == "identity":
        return "fresh", "the teacher's is a LayerNorm"
    if path not in teacher_weights:
        return "fresh", "the teacher has none"
    return "copied", "same name and shape"


def _same_shape(path, teacher, student):
    if teacher.shape != student.shape:
        raise errors.InputError(
            f"distill: {path} is {teacher.shape} in the teacher and {student.shape} in the "
            "student; copied weights must have equal shapes: change the student's sizes"
        )
    # A copy, because training donates the student's buffers and the teacher's are still used.
    return jnp.array(teacher, dtype=student.dtype)
