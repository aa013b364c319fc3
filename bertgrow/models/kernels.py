"""Attention kernels that store no logits: cuDNN on NVIDIA GPUs, splash attention on TPUs.

They have no dropout of attention probabilities, and no logits to compare or to share with
another layer. Where one of these is needed, XLA computes attention (`encoder.attention`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bertgrow.core.types import BATCH_AXES

XLA = "xla"
BLOCK = 512  # queries or keys that a program of splash attention holds at a time


class Kernel(NamedTuple):
    """What a kernel needs."""

    platform: str  # of `jax.Device`
    capability: float  # the lowest compute capability of an NVIDIA GPU
    unit: int  # tokens; a length must be a multiple
    head_unit: int  # a head's size must be a multiple
    head_max: int
    fast_from: int  # tokens a sequence, from which "auto" takes the kernel


# Only 512 tokens on an H200 has been measured (docs/results/speed.md); `fast_from` is a guess.
KERNELS = {
    "cudnn": Kernel("gpu", 8.0, unit=64, head_unit=8, head_max=128, fast_from=128),
    "splash": Kernel("tpu", 0.0, unit=128, head_unit=8, head_max=256, fast_from=512),
}


def choose(config, length, device):
    """The kernel that computes attention of a model on a device, and why.

    Args:
      config: `BertConfig`.
      length: tokens of a sequence.
      device: `jax.Device`, or the description of an absent one.

    Returns:
      (name, reason): the name of a kernel or "xla"; the reason where "auto" is XLA on a device
      with a kernel, else "".
    """
    if config.attention != "auto":
        return config.attention, ""
    for name, kernel in KERNELS.items():
        if kernel.platform == device.platform and _capability(device) >= kernel.capability:
            reason = refusal(name, config, length, device)
            if not reason and length < kernel.fast_from:
                reason = f"sequences of {length} tokens are short"
            return (XLA, reason) if reason else (name, "")
    return XLA, ""


def refusal(name, config, length, device):
    """Why a kernel cannot compute the attention of a model on a device; "" if it can.

    The reason ends with the field to change. Arguments are those of `choose`.
    """
    kernel, size = KERNELS[name], config.head_width
    if kernel.platform != device.platform:
        return f"the device is {_named(device)}, {name} runs on a {kernel.platform.upper()}"
    if _capability(device) < kernel.capability:
        return f"{name} needs compute capability {kernel.capability}, {_named(device)} is older"
    if config.attention_dropout:
        return f"attention_dropout is {config.attention_dropout}, {name} has none: set it to 0"
    if config.light_every:
        return f"light_every is {config.light_every}: light attention shares logits"
    if config.pool > 1:
        return f"pool is {config.pool}: padding of a pooled sequence is not at its end"
    if config.dtype == "float32":
        return f"dtype is float32, {name} computes in 16 bits"
    if length % kernel.unit:
        return f"length is {length}, not a multiple of {kernel.unit}"
    if size % kernel.head_unit or size > kernel.head_max:
        return (
            f"a head is {size} wide; {name} wants a multiple of {kernel.head_unit}, at most "
            f"{kernel.head_max}: change num_heads"
        )
    return ""


def of_layers(config, hidden):
    """The kernel of the layers of a `BertConfig` for their input `hidden`, or "xla".

    "auto" is XLA here: the kernel of a run is chosen, and checked, before it starts.
    A certificate evaluates the same model in float32, and initialisation uses a short example;
    both take XLA.

    Args:
      hidden: [batch, length, embed].
    """
    if config.attention not in KERNELS or hidden.dtype == jnp.float32:
        return XLA
    return XLA if hidden.shape[1] % KERNELS[config.attention].unit else config.attention


def run(name, query, keys, values, mask):
    """Softmax attention of a kernel.

    On a mesh every device computes its own sequences and heads.

    Args:
      name: "cudnn" or "splash".
      query, keys, values: [batch, length, heads, kv].
      mask: bool [batch, length], true for the first tokens of a sequence, false at the padding
        that follows.

    Returns:
      [batch, length, heads, kv]; at padding, numbers without meaning.
    """
    attend = {"cudnn": _cudnn, "splash": _splash}[name]
    mesh = jax.sharding.get_abstract_mesh()
    axes = set(mesh.axis_names) - set(mesh.manual_axes)
    if mesh.size <= 1 or not axes:
        return attend(query, keys, values, mask)
    batch = tuple(axis for axis in BATCH_AXES if axis in axes) or None
    spec = jax.P(batch, None, "tensor" if "tensor" in axes else None)
    # Also over axes of size 1: Mosaic refuses a program that any axis could divide.
    return jax.shard_map(
        attend, axis_names=axes, in_specs=(spec, spec, spec, jax.P(batch)), out_specs=spec,
        check_vma=False,
    )(query, keys, values, mask)  # fmt: skip


def _cudnn(query, keys, values, mask):
    lengths = mask.sum(axis=1, dtype=jnp.int32)
    return jax.nn.dot_product_attention(
        query, keys, values, key_value_seq_lengths=lengths, implementation="cudnn"
    )


def _splash(query, keys, values, mask):
    from jax.experimental.pallas.ops.tpu.splash_attention import SegmentIds

    _, length, heads, size = query.shape
    segments = SegmentIds(*[mask.astype(jnp.int32)] * 2)
    by_head = (jnp.swapaxes(x, 1, 2) for x in (query * size**-0.5, keys, values))
    attended = jax.vmap(_splash_kernel(heads, length))(*by_head, segments)
    return jnp.swapaxes(attended, 1, 2)


def _splash_kernel(heads, length):
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    names = ("q", "kv", "kv_compute", "q_dkv", "kv_dkv", "kv_dkv_compute", "q_dq", "kv_dq")
    block = max(size for size in range(128, BLOCK + 1, 128) if length % size == 0)
    blocks = {f"block_{name}": block for name in names}
    every = splash.MultiHeadMask([splash.FullMask((length, length))] * heads)
    sizes = splash.BlockSizes(**blocks)
    return splash.make_splash_mha(every, block_sizes=sizes, head_shards=1, q_seq_shards=1)


def _capability(device):
    """Compute capability of an NVIDIA GPU; 0 of other devices."""
    return float(getattr(device, "compute_capability", 0) or 0)


def _named(device):
    return "a CPU" if device.platform == "cpu" else device.device_kind
