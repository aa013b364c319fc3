"""Which model teaches a stage, where its weights are, and how a student begins with them."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bertgrow import config as configs
from bertgrow import losses, workdir
from bertgrow.contracts import Frozen
from bertgrow.errors import InputError
from bertgrow.train import checkpoint, sharding
from mobilebert import copying, nn, transfer


class Source(NamedTuple):
    """A trained teacher."""

    model: Any  # MobileBertConfig
    step: int  # of the checkpoint that holds it
    folder: str = ""  # of another run's checkpoints; empty: this run's


def find(settings, index):
    """The `Source` of the stage number `index`; InputError where there is none.

    The teacher is the run that `config.transfer.teacher` names, or else what the last stage of
    masked words before this one has trained.
    """
    section, stages = settings.sections["transfer"], settings.stages
    if section.teacher:
        return _elsewhere(section.teacher, stages[index].model.vocab_size)
    for stage in reversed(stages[:index]):
        if stage.task == "masked_lm":
            return Source(stage.model, stage.end)
    raise InputError(
        f"config.stages[{index}].task is {stages[index].task!r} and nothing teaches it: put "
        "a stage that trains the teacher before it, or name a run of one by "
        "--config.transfer.teacher=WORKDIR"
    )


@functools.cache
def _elsewhere(folder, vocab_size):
    recipe = workdir.read(folder)["recipe"]
    recipe["model"]["vocab_size"] = recipe["model"]["vocab_size"] or vocab_size
    model = configs.resolve(recipe).model
    if not isinstance(model, nn.MobileBertConfig):
        raise InputError(
            f"config.transfer.teacher {folder} is of another family "
            f"({recipe['model']['family']}); give a run of config.model.family='mobilebert'"
        )
    saved = str(Path(folder) / "checkpoints")
    with checkpoint.Checkpoints(saved) as saves:
        step = saves.latest()
    if step is None:
        raise InputError(
            f"config.transfer.teacher {folder} holds no checkpoint; train it first"
        )
    return Source(model, step, saved)


def frozen(source, dtype):
    """The teacher's weights as `Frozen`, sharded by the rules and kept in `dtype`."""
    network = nn.network(source.model)

    def shapes(mesh):
        params = jax.eval_shape(network.init, jax.random.key(0))
        where = sharding.shardings(params, network.axes, mesh)
        return jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=place),
            params,
            where,
        )

    def load(saves, wanted):
        target = jax.tree.map(lambda leaf: leaf.update(dtype=jnp.float32), wanted)
        if source.folder:
            with checkpoint.Checkpoints(source.folder) as saves:
                params = saves.restore_params(source.step, target)
        else:
            params = saves.restore_params(source.step, target)
        return jax.tree.map(lambda leaf: leaf.astype(dtype), params)

    def digest(saves):
        if source.folder:
            with checkpoint.Checkpoints(source.folder) as saves:
                return saves.digest(source.step)
        return saves.digest(source.step)

    return Frozen(shapes, load, digest)


def begin(student, teacher, task, *, norm, index, optimizer):
    """How a student's first stage is entered: fresh, with what its teacher gives it.

    Args:
      student, teacher: `MobileBertConfig`.
      task: of the student; hides the tokens of the probe.
      norm: `config.transfer.embedding_norm`.
      index: of the stage; the student's weights are drawn from the run's key and it.
      optimizer: of the stage.

    Returns:
      The function that `Objective.enter` describes. The state before, the teacher's, is gone
      afterwards: what is needed of it is in `frozen`.
    """
    network = nn.network(student)

    def enter(state, shardings, probe, frozen):
        fresh = jax.jit(network.init, out_shardings=shardings.params)
        inputs = jax.jit(task.prepare)(probe)

        def embed(params):
            share = transfer.token_share(inputs["tokens"] != student.pad_id)
            ours, theirs = nn.embed(student), nn.embed(teacher)
            return ours(params, inputs), theirs(frozen, inputs), share

        params, leaves = copying.copy(
            fresh(jax.random.fold_in(state.key, index)), frozen,
            embedding_norm=norm, embed=embed,
        )  # fmt: skip
        params = jax.device_put(params, shardings.params)
        opt_state = jax.jit(optimizer.init, out_shardings=shardings.opt_state)(params)
        for leaf in jax.tree.leaves((state.params, state.opt_state)):
            leaf.delete()
        certificate = _certificate(leaves, nn.network(teacher), network, frozen, params, inputs)
        return state._replace(params=params, opt_state=opt_state), certificate

    return enter


def _certificate(leaves, teacher, student, frozen, params, inputs):
    """What was copied, and the loss on the probe of the teacher and of the new student."""
    count = {what: sum(row["what"] == what for row in leaves) for what in ("copied", "fitted")}
    words = f"student: {count['copied']} weights copied from its teacher"
    if count["fitted"]:
        words += f", {count['fitted']} fitted to it"
    loss = [_loss(teacher, frozen, inputs), _loss(student, params, inputs)]
    row = dict(
        operator="copy",
        dimension="teacher",
        changed=words,
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
    """Cross-entropy of the hidden tokens, without dropout."""

    @jax.jit
    def measure(params):
        logits = network.apply(params, inputs)["mlm_logits"]
        return losses.cross_entropy(logits, inputs["targets"], inputs["share"])

    return float(measure(params))
