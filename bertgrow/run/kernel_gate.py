"""Lets a run use an attention kernel only after it equalled XLA on this device."""

import dataclasses

import jax

from bertgrow.core.errors import CheckFailed
from bertgrow.models import kernel_parity, kernels, layers, on_device
from bertgrow.train import agreement


def settle(settings, say=print):
    """Settings with the kernels of the devices at hand, each checked for its shapes.

    Where a recipe says "auto", a kernel that fails is replaced by XLA.

    Args:
      settings: `RunConfig`.
      say: prints a line.

    Raises:
      CheckFailed: a kernel that the recipe names is wrong or fails here.
      InputError: a kernel that the recipe names cannot compute the attention of a stage.
    """
    device, failures = jax.local_devices()[0], {}
    settled = on_device.settle(settings, device)
    for line in on_device.remarks(settings, device):
        say(line)
    for shape, given in _shapes(settled, settings).items():
        failure = _failure(*shape)
        if not all(agreement.in_all(not failure)):
            failures[shape] = failure or f"attention by {shape[0]} fails in another process"
            if given != "auto":
                raise CheckFailed(
                    f"{failures[shape]}; set config.model.attention to 'auto' or 'xla'"
                )
            say(f"warning: {failures[shape]}; XLA computes it instead")

    def without_failed(stage):
        if _shape(stage) in failures:
            return dataclasses.replace(stage.model, attention=kernels.XLA)
        return stage.model

    return on_device.each_model(settled, without_failed)


def _shapes(settled, settings):
    """{shape: `attention` of the recipe}, of stages with a kernel; a named one counts first."""
    shapes = {}
    for stage, given in zip(settled.stages, settings.stages, strict=True):
        shape = _shape(stage)
        if shape[0] in kernels.KERNELS and shapes.get(shape, "auto") == "auto":
            shapes[shape] = given.model.attention
    return shapes


def _shape(stage):
    model = stage.model
    kernel = getattr(model, "attention", kernels.XLA)  # a family without kernels
    heads = model.num_heads, model.width // model.num_heads
    return kernel, stage.length, *heads, str(layers.compute_dtype(model))


def _failure(name, length, heads, size, dtype):
    """What is wrong with a kernel for these shapes, or ""."""
    described = f"attention by {name} on {heads} heads of {size} at length {length}"
    try:
        error = kernel_parity.largest_error(name, length, heads, size, dtype)
    except (RuntimeError, ValueError, NotImplementedError) as raised:
        return f"{described} fails here: {str(raised).splitlines()[0]}"
    if error <= kernel_parity.TOLERANCE:
        return ""
    return (
        f"{described} is off by {error:.2g} of the values of XLA, expected at most "
        f"{kernel_parity.TOLERANCE:g}"
    )
