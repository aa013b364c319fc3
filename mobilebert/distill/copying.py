"""What a student takes over from its teacher before it learns: by name, and written down.

Everything outside the blocks that both have: word, position and type tables, the trigram
projection, the masked-token head and the next-sentence head (google-research, mobilebert;
AKT, JKT and PKT alike). TensorFlow's Model Garden copies by order instead and swaps the gain
and the shift of the embedding norm.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors, tree
from bertgrow.growth import named_tree

FIELDS = {  # axes that must agree, and the configuration field that gives each
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
    """Raises InputError, with both sizes, where a teacher does not fit a student.

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
    """Raises InputError where a rule for the embedding norm does not suit two models.

    Gain and shift of one kind of norm say nothing to another: a LayerNorm's belong to features
    that it has normalised. Where the kinds agree, anything but a copy would throw away what
    the copied tables were trained with. A folded norm has nothing to fit.

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
    """The teacher's layer for each of the student's: int [student layers].

    The last of each equal part of the teacher (MobileBERT-EdgeTPU: student depth divides
    teacher depth). Raises InputError where it does not.
    """
    if not 0 < student_layers <= teacher_layers or teacher_layers % student_layers:
        raise errors.InputError(
            f"distill: a teacher of {teacher_layers} layers and a student of {student_layers}; "
            "the student's depth must divide the teacher's: change num_layers of the student"
        )
    return (np.arange(student_layers) + 1) * (teacher_layers // student_layers) - 1


def copy(student, teacher, *, embedding_norm="identity", embed=None):
    """The student with what its teacher gives it, and a certificate of every leaf.

    The published next-sentence head was trained on pooled vectors and then reads raw ones;
    it is copied all the same, and learns with the rest.

    Args:
      student: fresh parameters.
      teacher: trained parameters.
      embedding_norm: of a student without LayerNorm, "identity": fresh, as published; or
        "least_squares": gain and shift that come closest to the teacher's embeddings, see
        `fit`. Of a student with LayerNorm, "copy".
      embed: for "least_squares", a function (parameters of the student) -> the embeddings of
        both on one probe batch, student's and teacher's float [batch, length, width], and
        `share` float [batch, length].

    Returns:
      Parameters of the student, and rows {"path", "what", "why"} in the order of its tree,
      `what` being copied, fitted, fresh or, for a leaf of the teacher, left.
    """
    if embedding_norm not in NORMS:
        raise errors.InputError(
            f"distill: embedding_norm is {embedding_norm!r}; expected {', '.join(NORMS)}"
        )
    given, rows = named_tree.by_path(teacher), []

    def at_leaf(path, leaf):
        path = tree.path_name(path)
        what, why = _fate(path, given, embedding_norm)
        if not path.startswith("layers/"):
            rows.append({"path": path, "what": what, "why": why})
        return _same_shape(path, given[path], leaf) if what == "copied" else leaf

    copied = jax.tree_util.tree_map_with_path(at_leaf, student)
    rows.append({"path": "layers", "what": "fresh", "why": "learnt by transfer"})
    left = given.keys() - named_tree.by_path(student).keys()
    rows += [
        {"path": path, "what": "left", "why": "the student has none"}
        for path in sorted(left)
        if not path.startswith("layers/")
    ]
    if embedding_norm == "least_squares":
        norm, rest = fit(*embed(copied))
        copied = copied | {"embeddings": copied["embeddings"] | {"norm": norm}}
        for row in rows:
            if row["what"] == "fitted":
                row["why"] += f"; {float(rest):.1%} of its variance is left"
    return copied, rows


def fit(before, after, share):
    """Per channel, the gain and shift that bring `before` closest to `after`.

    Args:
      before: float [batch, length, width], embeddings under gain 1 and shift 0.
      after: float, same shape, the teacher's embeddings.
      share: float [batch, length], weights of the tokens, which sum to one.

    Returns:
      {"scale", "bias"}, float32 [width], and the share of variance that is left, a scalar.
    """
    before, after = before.astype(jnp.float32), after.astype(jnp.float32)

    def mean(values):
        return jnp.sum(values * share[..., None], axis=(0, 1), keepdims=True)

    x, y = before - mean(before), after - mean(after)
    spread = mean(x * x)
    scale = jnp.where(spread > 0, mean(x * y) / jnp.where(spread > 0, spread, 1), 1)
    bias = mean(after) - scale * mean(before)
    left = mean(jnp.square(y - scale * x)).sum() / mean(y * y).sum()
    return {"scale": scale[0, 0], "bias": bias[0, 0]}, left


def _fate(path, given, embedding_norm):
    """What happens to a leaf of the student, and why."""
    if path.startswith("layers/"):
        return "fresh", "learnt by transfer"
    if path.startswith("pooler/"):
        return "fresh", "the teacher's reads its own last features"
    if path.startswith(f"{NORM}/") and embedding_norm == "least_squares":
        return "fitted", "to the teacher's embeddings"
    if path.startswith(f"{NORM}/") and embedding_norm == "identity":
        return "fresh", "the teacher's is a LayerNorm"
    if path not in given:
        return "fresh", "the teacher has none"
    return "copied", "same name and shape"


def _same_shape(path, theirs, ours):
    if theirs.shape != ours.shape:
        raise errors.InputError(
            f"distill: {path} is {theirs.shape} in the teacher and {ours.shape} in the "
            "student; what is copied must be equal: change the student's sizes"
        )
    # A copy: training donates the student's weights, and the teacher's must stay.
    return jnp.array(theirs, dtype=ours.dtype)
