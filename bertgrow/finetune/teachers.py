"""Distillation while fine-tuning: soft labels of a teacher fine-tuned for the same task.

Hinton et al. (2015). The teacher has the same vocabulary, so it reads the student's batches.
"""

import hashlib
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bertgrow.core import losses
from bertgrow.core.errors import InputError
from bertgrow.core.types import Frozen
from bertgrow.interop.pretrained import Pretrained
from bertgrow.models import families, task_heads
from bertgrow.train import sharding


class Teacher(NamedTuple):
    """A fine-tuned model as teacher, and the weights of the losses."""

    model: Pretrained  # with a head
    label_weight: float  # of the loss with the true labels; that with soft labels has the rest
    temperature: float  # divides the logits of teacher and student in the loss with soft labels
    digest: str  # sha256 of the weights

    @property
    def network(self):
        """The `Network` of the model with its head."""
        add, head = task_heads.HEADS[self.model.head.kind], self.model.head.weights
        return add(self.model.network, width=self.model.config.width, outputs=len(head["bias"]))

    @property
    def params(self):
        return self.model.params | {task_heads.NAME: self.model.head.weights}

    def mixed(self, scores, frozen, inputs, logits):
        """Replaces `loss` of `scores` by the weighted sum of both losses, and adds the two.

        Args:
          scores: of the true labels, with their `loss`.
          frozen: `params` on the devices; the teacher has no dropout.
          inputs: of `Task.loss`.
          logits: of the student.
        """
        soft = self._soft_loss(frozen, inputs, logits)
        both = dict(label_loss=scores["loss"], soft_loss=soft)
        total = self.label_weight * scores["loss"] + (1 - self.label_weight) * soft
        return scores | both | dict(loss=total)

    def _soft_loss(self, frozen, inputs, logits):
        labels = self.network.apply(frozen, inputs)["task_logits"]
        weights = inputs["weights"]
        if (
            self.model.head.kind == "spans"
        ):  # the first and the last token, with half the weight
            logits, labels = (jnp.swapaxes(each, 1, 2) for each in (logits, labels))
            weights = weights[:, None] / 2
        elif self.model.head.classes is None:
            distance = jnp.square(logits - jax.lax.stop_gradient(labels)).sum(axis=-1)
            return jnp.sum(distance * weights)
        return losses.soft_cross_entropy(logits, labels, weights, self.temperature)

    def frozen(self):
        """The weights as `Frozen`, sharded by the rules."""

        def shapes(mesh):
            network, params = self.network, jax.eval_shape(lambda: self.params)
            places = sharding.shardings(params, network.axes, mesh)
            return jax.tree.map(lambda leaf, place: leaf.update(sharding=place), params, places)

        def load(saves, shapes):
            del saves
            params = jax.device_get(self.params)  # of a device of this process alone
            return jax.device_put(params, jax.tree.map(lambda leaf: leaf.sharding, shapes))

        return Frozen(shapes, load, lambda saves: self.digest, at_entry=False)

    def flops(self, length):
        """Forward FLOPs of one sequence."""
        forward = families.find(self.model.family).flops
        return sum(forward(self.model.config, length, 0).values())

    def describe(self):
        """Entry `teacher` of config.json; another one is another run."""
        return dict(
            source=self.model.source, step=self.model.step, digest=self.digest,
            label_weight=self.label_weight, temperature=self.temperature,
        )  # fmt: skip


def make(model, label_weight, temperature):
    """Makes the `Teacher` of a `Pretrained`; InputError if it has no head."""
    if model.head is None:
        raise InputError(
            f"--teacher {model.source} has no head of a task; give the --workdir of a finished "
            "`bertgrow finetune`"
        )
    content = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get((model.params, model.head.weights))):
        content.update(leaf.tobytes())
    return Teacher(model, label_weight, temperature, content.hexdigest())


def check(teacher, problem, student, length):
    """Raises InputError if a teacher cannot label the sequences of a student.

    Args:
      teacher: `Teacher`.
      problem: `Problem` that the student learns.
      student: its `Pretrained`.
      length: tokens of the longest sequences.
    """
    model, classes = teacher.model, problem.classes and tuple(problem.classes)
    name, head = f"--teacher {model.source}", model.head
    if (head.kind, head.classes) != (problem.head, classes):
        raise InputError(
            f"{name} was fine-tuned for {head.task} ({_labels(head.kind, head.classes)}); "
            f"--task {problem.name} has {_labels(problem.head, classes)}: give a teacher of "
            "the same labels"
        )
    if model.tokenizer.hash != student.tokenizer.hash:
        raise InputError(
            f"{name} has another vocabulary than --from {student.source}; a teacher reads the "
            "tokens of its student, so give one with the same vocabulary"
        )
    if model.config.max_length < length:
        raise InputError(
            f"{name} has {model.config.max_length} positions, and sequences have up to "
            f"{length} tokens; lower --length"
        )


def _labels(kind, classes):
    if classes:
        return f"the labels {', '.join(classes)}"
    return "spans" if kind == "spans" else "a score"
