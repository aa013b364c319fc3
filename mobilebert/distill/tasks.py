"""Distillation tasks: layer-wise knowledge transfer and pre-training distillation.

Student and teacher run without dropout, as in the published code, so the random key is unused.
`Task.frozen` holds the teacher's parameters.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bertgrow.core import losses
from bertgrow.core.types import Task
from mobilebert.distill import layer_losses, penalty, soft_labels, targets
from mobilebert.models.maps import NOTHING


class Student(NamedTuple):
    """The student network and its masked-token task."""

    watched: Any  # a function, see `models.mobilebert.watched`
    plain: Task  # masked-token task: masks training sequences and evaluates
    prepare_held_out: Any  # like `Task.prepare`, for held-out sequences
    num_layers: int
    pad_id: int


class Terms(NamedTuple):
    """The losses, their weights and the tokens that count."""

    factors: layer_losses.Factors = layer_losses.Factors()
    features: str = "split"  # split | plain, see `layer_losses.judge`
    tokens: str = "real"  # real | all, see `layer_losses.token_share`
    activation_factor: float = 0.0  # weight of `penalty.penalty`
    activation_limit: float = penalty.LIMIT


def layer_transfer(student, teacher, terms, *, active=None):
    """Layer-wise knowledge transfer (Sun et al., 2020), for one layer or for all at once.

    The embeddings are frozen and get no gradient.

    Args:
      student: `Student`.
      teacher: `Teacher`.
      terms: `Terms`.
      active: function of the step -> the student's layer that trains, int32; both networks
        then stop at that layer. None: all layers train, joint transfer.
    """

    def loss(params, frozen, inputs, key, step):
        del key
        now = None if active is None else active(step)
        still = jax.lax.stop_gradient(params["embeddings"])
        theirs = teacher.maps(frozen, inputs, now)
        outputs = _compared(student, terms, params | {"embeddings": still}, inputs, theirs, now)
        total, metrics = _transfer(student, terms, outputs)
        extra, metrics = _with_penalty(terms, outputs, metrics)
        return total + extra, metrics | {"tokens": inputs["real_tokens"].sum()}

    return _task(student, teacher, terms, loss, is_observed=True)


def distillation(student, teacher, terms, *, hard, temperature, auxiliary, next_sentence):
    """Pre-training distillation (Sun et al., 2020), alone or with all transfer losses.

    Args:
      student, teacher, terms: as in `layer_transfer`.
      hard: weight of the loss against the true tokens, alpha of the paper.
      temperature: of the soft labels.
      auxiliary: adds the transfer losses of all layers (AKT).
      next_sentence: adds the next-sentence loss, whose labels are always the true ones.
    """

    def loss(params, frozen, inputs, key, step):
        del key, step
        if auxiliary:
            theirs = teacher.maps(frozen, inputs, None)
            outputs = _compared(student, terms, params, inputs, theirs)
        else:
            outputs = student.watched(params, inputs, _watch(terms, inputs))
        total, metrics = soft_labels.distillation(
            outputs["mlm_logits"], teacher.labels(frozen, inputs), inputs["targets"],
            inputs["share"], hard=hard, temperature=temperature,
        )  # fmt: skip
        if next_sentence:
            metrics["nsp_loss"] = losses.cross_entropy(
                outputs["nsp_logits"], inputs["is_random"], inputs["row_share"]
            )
            total += metrics["nsp_loss"]
        if auxiliary:
            extra, parts = _transfer(student, terms, outputs)
            total, metrics = total + extra, metrics | parts
        extra, metrics = _with_penalty(terms, outputs, metrics)
        return total + extra, metrics | {"tokens": inputs["real_tokens"].sum()}

    return _task(student, teacher, terms, loss, is_observed=auxiliary)


def _task(student, teacher, terms, loss, *, is_observed):
    """Builds the `Task` of a loss; with `is_observed` it evaluates all layer losses."""
    plain = student.plain

    def prepare(batch):
        return weighted(plain.prepare(batch), batch)

    def weighted(inputs, batch):
        is_real = inputs["tokens"] != student.pad_id
        share = layer_losses.token_share(is_real, count=terms.tokens)
        told = {name: batch[name] for name in targets.NAMES if name in batch}
        return inputs | told | {"token_share": share}

    def evaluate(params, frozen, batch):
        inputs, judge, theirs = weighted(student.prepare_held_out(batch), batch), None, NOTHING
        if is_observed and teacher.is_live:
            judge, theirs = _judge(terms, inputs), teacher.maps(frozen, inputs, None)
        watch = penalty.watch_scores(judge)
        parts = _parts(student.watched(params, inputs, watch, theirs))
        found = {"score_max": (parts.pop(penalty.GREATEST), None)}
        count = (inputs["token_share"] > 0).sum().astype(jnp.float32)
        found |= {f"transfer_{name}": (x * count, count) for name, x in parts.items()}
        return plain.evaluate(params, (), batch) | found

    return Task(plain.init, prepare, loss, evaluate, plain.axes)


def _compared(student, terms, params, inputs, theirs, active=None):
    """The student's outputs, with layer losses against the teacher's maps."""
    watch = _watch(terms, inputs, _judge(terms, inputs))
    return student.watched(params, inputs, watch, theirs, active)


def _judge(terms, inputs):
    return layer_losses.judge(inputs["token_share"], terms.factors, terms.features)


def _watch(terms, inputs, judge=None):
    """Hook for every layer: the layer losses, and the activation penalty if it has a weight."""
    if not terms.activation_factor:
        return judge
    return penalty.watch(terms.activation_limit, inputs["row_share"], judge)


def _parts(outputs):
    """{name of the metric: float32 [layers]} of all hook outputs."""
    return outputs["seen"].features | outputs["seen"].scores


def _transfer(student, terms, outputs):
    """Transfer loss of the given layers, and each term averaged over them."""
    parts = _parts(outputs)
    parts.pop(penalty.EXCESS, None)
    each = layer_losses.total(parts, student.num_layers, terms.factors)
    return each.sum(), {f"transfer_{name}": part.mean() for name, part in parts.items()}


def _with_penalty(terms, outputs, metrics):
    if not terms.activation_factor:
        return 0.0, metrics
    cost = penalty.total(outputs["seen"]).sum()
    return terms.activation_factor * cost, metrics | {"activation_penalty": cost}
