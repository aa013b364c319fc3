"""Reads the model of a working directory: weights, configuration and vocabulary."""

from pathlib import Path

import jax

from bertgrow.core import system_files
from bertgrow.core.errors import InputError
from bertgrow.core.types import StageContext
from bertgrow.data.corpus import store, vocabulary
from bertgrow.interop.pretrained import Pretrained, TaskHead
from bertgrow.models import families, on_device, task_heads
from bertgrow.objectives import stages
from bertgrow.recipes import resolve
from bertgrow.run import workdir
from bertgrow.train.checkpoints import checkpoint


def read(folder, step=None):
    """Reads the model of a checkpoint, in the form that its stage trains.

    Args:
      folder: working directory of a run, which may go on.
      step: int, one of its checkpoints; None: the newest intact one.

    Returns:
      `Pretrained`. In the middle of masked growth its new parts have the mask of that step.

    Raises:
      InputError: there is no such checkpoint, or it holds no model.
    """
    known = workdir.read(folder)
    tokenizer = read_vocabulary(folder, known)
    settings = resolve.resolve(
        known["recipe"], vocab=tokenizer.vocab._replace(hash=tokenizer.hash),
        pinned=known.get("pinned"),
    )  # fmt: skip
    settings = on_device.portable(settings)  # kernels are checked only for the shapes of a run
    family = families.find(settings.family)
    with checkpoint.Checkpoints(Path(folder) / "checkpoints") as saves:
        step = _find(saves, folder, step)
        index = saves.record(step)["stage"]
        stage = settings.stages[index]
        _check_task(stage, folder, step)
        network = family.network(stage.model)
        if tuned := known.get("finetuning"):
            add = task_heads.HEADS[tuned["head"]]
            network = add(network, width=stage.model.width, outputs=tuned["outputs"])
        params = saves.restore_params(step, _target(network))
    if stage.start + stage.grow.ramp > step:
        task = stages.task(StageContext(family, settings, index, tokenizer.vocab))
        params = jax.jit(task.masked_params)(params, step) if task.masked_params else params
    body = {name: weights for name, weights in params.items() if name != task_heads.NAME}
    return Pretrained(
        settings.family, stage.model, body, tokenizer, str(folder), step,
        fresh=tuple(known.get("fresh", ())), head=tuned and _head(tuned, params),
    )  # fmt: skip


def _head(tuned, params):
    classes = tuned["classes"] and tuple(tuned["classes"])
    return TaskHead(tuned["task"], tuned["head"], classes, params[task_heads.NAME])


def write_vocabulary(folder, tokenizer):
    """Writes the vocabulary into a working directory; `entry` describes it in config.json."""
    system_files.write_atomically(Path(folder) / tokenizer.file_name, tokenizer.content)


def entry(tokenizer):
    """Entry `tokenizer` of config.json."""
    return dict(file=tokenizer.file_name, cased=tokenizer.cased)


def read_vocabulary(folder, known):
    """The tokenizer of a run: its own copy, or that of its store for a run without one.

    Args:
      folder: working directory.
      known: contents of its config.json.
    """
    about, expected = known.get("tokenizer"), known["store"]["vocabulary"]
    path = Path(folder) / about["file"] if about else None
    if about and path.is_file():
        tokenizer = vocabulary.load(path, cased=about["cased"])
    else:
        path = known["recipe"]["data"]["store"].split(",")[0]
        if not path:
            raise InputError(f"{folder} has no copy of its vocabulary, and names no store")
        tokenizer = store.Store(path).tokenizer
    if tokenizer.hash != expected:
        raise InputError(
            f"{path} has vocabulary {tokenizer.hash[:12]}, and {folder} was trained with "
            f"{expected[:12]}: put its own vocabulary there"
        )
    return tokenizer


def _find(saves, folder, step):
    if step is None:
        step = saves.latest()
        if step is None:
            raise InputError(f"{folder} has no intact checkpoint; train it first")
    elif step not in saves.steps():
        listed = ", ".join(map(str, saves.steps()))
        raise InputError(f"{folder} has no checkpoint of step {step}; it has {listed}")
    return step


def _check_task(stage, folder, step):
    if stage.task == "ligo":
        raise InputError(
            f"{folder}: checkpoint {step} holds the maps of learned growth and no model: give "
            "the step of a checkpoint before or after this stage"
        )


def _target(network):
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: leaf.update(sharding=place), shapes)
