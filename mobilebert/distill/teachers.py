"""Finds the teacher of a stage, loads its weights and initialises the student."""

from contextlib import nullcontext
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bertgrow.core import keys, losses
from bertgrow.core.errors import InputError
from bertgrow.core.types import Frozen
from bertgrow.models import task_heads
from bertgrow.train import sharding
from mobilebert.distill import copying, layer_losses, teacher_checkpoint
from mobilebert.models import mobilebert


class Source(NamedTuple):
    """A trained teacher."""

    model: Any  # MobileBertConfig
    step: int  # of its checkpoint
    folder: str = ""  # working directory of another run; empty: this run
    digest: str = ""  # of the checkpoint, for another run


def find(context):
    """The `Source` of a stage; raises InputError if there is none.

    The teacher is the run that `config.transfer.teacher` names, or else the model of the last
    `masked_lm` stage before this one.
    """
    settings, index, task = context.settings, context.index, context.stage.task
    folder = settings.sections["transfer"].teacher
    if folder:
        vocab_size, pinned = context.stage.model.vocab_size, settings.pinned.get(folder)
        model, step, digest = teacher_checkpoint.find(folder, vocab_size, pinned)
        return Source(model, step, folder, digest)
    for stage in reversed(settings.stages[:index]):
        if stage.task == "masked_lm":
            return Source(stage.model, stage.end)
    raise InputError(
        f"config.stages[{index}].task is {task!r} and it has no teacher: put "
        "a stage that trains the teacher before it, or name a run of one by "
        "--config.transfer.teacher=WORKDIR"
    )


def stages_to_run(recipe):
    """The stages of a recipe, plain data, without training of a teacher that exists already.

    If `transfer.teacher` names a run, the first stage is the first one that uses the teacher.
    """
    stages = recipe["stages"]
    if not recipe.get("transfer", {}).get("teacher"):
        return stages
    tasks = [stage.get("task", "masked_lm") for stage in stages]
    first = next((i for i, task in enumerate(tasks) if task != "masked_lm"), 0)
    return stages[first:]


def frozen(source, dtype):
    """The teacher's weights as `Frozen`, sharded by the rules, in `dtype`."""
    network = mobilebert.network(source.model)

    def shapes(mesh):
        params = jax.eval_shape(network.init, jax.random.key(0))
        shardings = sharding.shardings(params, network.axes, mesh)
        return jax.tree.map(
            lambda leaf, placed: jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=placed),
            params,
            shardings,
        )

    def load(saves, shapes):
        target = jax.tree.map(lambda leaf: leaf.update(dtype=jnp.float32), shapes)
        with _checkpoints(source, saves) as saves:
            params = saves.restore_params(source.step, target, ignore=[task_heads.NAME])
        return jax.tree.map(lambda leaf: leaf.astype(dtype), params)

    def digest(saves):
        return source.digest if source.folder else saves.digest(source.step)

    pinned = {source.folder: dict(step=source.step, digest=source.digest)}
    return Frozen(shapes, load, digest, pinned=pinned if source.folder else None)


def _checkpoints(source, saves):
    """Context manager of the checkpoints with a `Source`; `saves` are those of the run."""
    return (
        teacher_checkpoint.checkpoints(source.folder) if source.folder else nullcontext(saves)
    )


def begin(student, teacher, task, *, norm, optimizer):
    """Builds the function that initialises a student from its teacher.

    Args:
      student, teacher: `MobileBertConfig`.
      task: of the student; masks the tokens of the probe batch.
      norm: `config.transfer.embedding_norm`.
      optimizer: of the stage.

    Returns:
      The function that `Objective.enter` describes. It frees the state before, which is the
      teacher's; the teacher's parameters stay in `frozen`.

    Raises:
      InputError: the rule for the embedding norm does not suit the two models.
    """
    copying.check_norm(norm, student.norm, teacher.norm)
    network = mobilebert.network(student)

    def enter(state, shardings, probe, frozen):
        fresh = jax.jit(network.init, out_shardings=shardings.params)
        inputs = jax.jit(task.prepare)(probe)

        def embed(params):
            weights = layer_losses.weigh_tokens(inputs["tokens"] != student.pad_id)
            before = mobilebert.embed(student)(params, inputs)
            return before, mobilebert.embed(teacher)(frozen, inputs), weights

        params, leaves = copying.copy(
            fresh(keys.derive(state.key, keys.Purpose.STUDENT, state.step)), frozen,
            embedding_norm=norm, embed=embed,
        )  # fmt: skip
        params = jax.device_put(params, shardings.params)
        opt_state = jax.jit(optimizer.init, out_shardings=shardings.opt_state)(params)
        for leaf in jax.tree.leaves((state.params, state.opt_state)):
            leaf.delete()
        certificate = _certificate(
            leaves, mobilebert.network(teacher), network, frozen, params, inputs
        )
        return state._replace(params=params, opt_state=opt_state), certificate

    return enter


def _certificate(leaves, teacher, student, frozen, params, inputs):
    """Records the copied leaves, and the probe loss of the teacher and of the new student."""
    count = {what: sum(row["what"] == what for row in leaves) for what in ("copied", "fitted")}
    changed = f"student: {count['copied']} weights copied from its teacher"
    if count["fitted"]:
        changed += f", {count['fitted']} fitted to it"
    loss = [_loss(teacher, frozen, inputs), _loss(student, params, inputs)]
    row = dict(
        operator="copy",
        dimension="teacher",
        changed=changed,
        sizes={},
        claim="no",
        source="Sun et al. (2020), training objectives",
        holds=None,
        ties={},
        loss_before=loss[0],
        loss_after=loss[1],
    )
    return {"rows": [row], "loss": {"as_trained": loss}, "leaves": leaves, "cost": {}}


def _loss(network, params, inputs):
    """Cross-entropy at the masked positions, without dropout."""

    @jax.jit
    def measure(params, inputs):
        logits = network.apply(params, inputs)["mlm_logits"]
        return losses.cross_entropy(logits, inputs["targets"], inputs["loss_weights"])

    return float(measure(params, inputs))
