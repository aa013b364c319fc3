"""Distillation tasks: layer-wise knowledge transfer and pre-training distillation.

Student and teacher run without dropout, as in the published code, so the random keys are
unused. `Task.frozen` holds the teacher's parameters.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bertgrow.core import losses
from bertgrow.core.types import Task
from mobilebert.distill import layer_losses, penalty, soft_labels, teacher_outputs
from mobilebert.models.encoder import NO_MAPS


class Student(NamedTuple):
    """The student network and its masked-token task."""

    with_hook: Any  # a function, see `models.mobilebert.with_hook`
    plain: Task  # masked-token task: masks training sequences and evaluates
    prepare_held_out: Any  # like `Task.prepare`, for held-out sequences
    num_layers: int
    pad_id: int


class Terms(NamedTuple):
    """The losses, their weights and the tokens that count."""

    factors: layer_losses.Factors = layer_losses.Factors()
    features: str = "split"  # split | plain, see `layer_losses.hook`
    tokens: str = "real"  # real | all, see `layer_losses.weigh_tokens`
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

    def loss(params, frozen, inputs, keys, step):
        del keys
        layer = None if active is None else active(step)
        fixed = {"embeddings": jax.lax.stop_gradient(params["embeddings"])}
        teacher_maps = teacher.maps(frozen, inputs, layer)
        outputs = _compared(student, terms, params | fixed, inputs, teacher_maps, layer)
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

    def loss(params, frozen, inputs, keys, step):
        del keys, step
        if auxiliary:
            teacher_maps = teacher.maps(frozen, inputs, None)
            outputs = _compared(student, terms, params, inputs, teacher_maps)
        else:
            outputs = student.with_hook(params, inputs, _with_penalty_hook(terms, inputs))
        total, metrics = soft_labels.distillation(
            outputs["mlm_logits"], teacher.labels(frozen, inputs), inputs["targets"],
            inputs["loss_weights"], hard=hard, temperature=temperature,
        )  # fmt: skip
        if next_sentence:
            metrics["nsp_loss"] = losses.cross_entropy(
                outputs["nsp_logits"], inputs["is_random"], inputs["sequence_weights"]
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
        weights = layer_losses.weigh_tokens(is_real, count=terms.tokens)
        cached = {name: batch[name] for name in teacher_outputs.NAMES if name in batch}
        return inputs | cached | {"token_weights": weights}

    def evaluate(params, frozen, batch):
        inputs, hook, maps = weighted(student.prepare_held_out(batch), batch), None, NO_MAPS
        if is_observed and teacher.is_live:
            hook, maps = _losses_hook(terms, inputs), teacher.maps(frozen, inputs, None)
        hook = penalty.largest_score_hook(hook)
        parts = _parts(student.with_hook(params, inputs, hook, maps))
        metrics = {"score_max": (parts.pop(penalty.LARGEST), None)}
        count = (inputs["token_weights"] > 0).sum().astype(jnp.float32)
        metrics |= {f"transfer_{name}": (x * count, count) for name, x in parts.items()}
        return plain.evaluate(params, (), batch) | metrics

    return Task(plain.init, prepare, loss, evaluate, plain.axes)


def _compared(student, terms, params, inputs, teacher_maps, active=None):
    """The student's outputs, with layer losses against the teacher's maps."""
    hook = _with_penalty_hook(terms, inputs, _losses_hook(terms, inputs))
    return student.with_hook(params, inputs, hook, teacher_maps, active)


def _losses_hook(terms, inputs):
    return layer_losses.hook(inputs["token_weights"], terms.factors, terms.features)


def _with_penalty_hook(terms, inputs, hook=None):
    """Adds the activation penalty, if it has a weight, to the hook of the layer losses."""
    if not terms.activation_factor:
        return hook
    return penalty.hook(terms.activation_limit, inputs["sequence_weights"], hook)


def _parts(outputs):
    """{name of the metric: float32 [layers]} of all hook outputs."""
    return outputs["hook_outputs"].features | outputs["hook_outputs"].scores


def _transfer(student, terms, outputs):
    """Transfer loss of the given layers, and each term averaged over them."""
    parts = _parts(outputs)
    parts.pop(penalty.EXCESS, None)
    layers = layer_losses.total(parts, student.num_layers, terms.factors)
    return layers.sum(), {f"transfer_{name}": part.mean() for name, part in parts.items()}


def _with_penalty(terms, outputs, metrics):
    if not terms.activation_factor:
        return 0.0, metrics
    cost = penalty.total(outputs["hook_outputs"]).sum()
    return terms.activation_factor * cost, metrics | {"activation_penalty": cost}
