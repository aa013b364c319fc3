"""Replaces `auto` in the models of a recipe by what suits a device."""

import dataclasses

from bertgrow.core.errors import InputError
from bertgrow.models import kernels


def each_model(settings, change):
    """Settings with the model of each stage replaced by `change(stage)`."""
    stages = [dataclasses.replace(stage, model=change(stage)) for stage in settings.stages]
    return dataclasses.replace(settings, stages=tuple(stages))


def settle(settings, device):
    """Settings in which the model of each stage is `settle_model` of it.

    Args:
      settings: `RunConfig`.
      device: `jax.Device`, or the description of an absent one.

    Raises:
      InputError: a stage names a kernel that cannot compute its attention.
    """

    def change(stage):
        try:
            return settle_model(stage.model, stage.length, device)
        except InputError as error:
            raise InputError(f"stage {stage.name}: {error}") from error

    return each_model(settings, change)


def portable(settings):
    """Settings whose models run on every device and take any mask: XLA, and a loop."""

    def change(stage):
        if not hasattr(stage.model, "attention"):
            return stage.model
        return dataclasses.replace(stage.model, attention=kernels.XLA, unroll=1)

    return each_model(settings, change)


def settle_model(model, length, device):
    """The config of a model with the attention and the unrolling of a device.

    Args:
      model: config of any family; one without kernels is returned as it is.
      length: tokens of a sequence.
      device: as in `settle`.
    """
    if not hasattr(model, "attention"):
        return model
    kernel, _ = kernels.choose(model, length, device)
    if kernel in kernels.KERNELS and (reason := kernels.refusal(kernel, model, length, device)):
        raise InputError(
            f"attention is {kernel!r}, but {reason}, or set config.model.attention to 'auto'"
        )
    unroll = model.unroll or _unroll(model, device)
    return dataclasses.replace(model, attention=kernel, unroll=unroll)


def _unroll(model, device):
    """Layers that a turn of the loop computes.

    A loop on a GPU copies weights and stored activations in and out, 13 % of the step of
    BERT-large on an H200 (docs/results/speed.md). Without a loop, XLA would merge what `remat`
    computes again with its first computation, and keep it.
    """
    return model.num_layers if device.platform == "gpu" and model.remat == "none" else 1


def remarks(settings, device):
    """Lines that say which attention the stages have, and why, for a device with a kernel."""
    for stage in settings.stages:
        if hasattr(stage.model, "attention"):
            kernel, reason = kernels.choose(stage.model, stage.length, device)
            if kernel != kernels.XLA:
                yield f"stage {stage.name}: attention by {kernel}"
            elif reason:
                yield f"stage {stage.name}: attention by XLA, because {reason}"
