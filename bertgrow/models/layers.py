"""Declares weights by axis names, and defines the basic operations of a layer.

Precision of all models: parameters are float32. Products run in the dtype of the activations,
float32 or bfloat16; weights are cast to it at each use. Norms, softmax, logits and losses are
float32; gradients of attention scores and logits are cast before they are multiplied.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from bertgrow.core import errors, tree
from bertgrow.core.types import BATCH_AXES

EPSILON = 1e-12
ACTIVATIONS = {
    # jax.nn.gelu uses erfc, whose branches take twice the time on a CPU.
    "gelu": lambda x: x * (0.5 + 0.5 * jax.lax.erf(x * math.sqrt(0.5))),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
}


def activation(config):
    """The function named by `config.activation`. The backward pass stores only its input."""
    return jax.checkpoint(ACTIVATIONS[config.activation], prevent_cse=False)


def truncated_normal(scale):
    """Initialiser of BERT (sigma 0.02): normal values truncated at two deviations.

    Truncation reduces the standard deviation to 0.88 of `scale`. Flax's initialiser corrects
    for this; BERT's, and this one, do not.
    """

    def initialize(key, shape, dtype):
        return scale * jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype)

    return initialize


def declare(module, table, **initializers):
    """Declares the weights of a module and returns them in the structure of `table`.

    A leaf of `table` names the axes of one weight, e.g. "vocab embed".
    `module.config.sizes()` gives their sizes. The name of the weight selects its initialiser;
    `initializers` overrides it.
    """
    initializers = _initializers(module.config) | initializers
    axis_sizes = module.config.sizes() | {"classes": 2}

    def make(key, name, entry):
        if isinstance(entry, dict):  # at most one leaf uses the key
            return {leaf: make(key, leaf, axes) for leaf, axes in entry.items()}
        names = tuple(entry.split())
        shape = tuple(axis_sizes[tree.base(axis)] for axis in names)
        return nn.Partitioned(initializers[name](key, shape, jnp.float32), names)

    def weight(name, entry):
        if module.has_variable("params", name):  # `param` would trace the initialiser again
            return module.get_variable("params", name)
        return module.param(name, functools.partial(make, name=name, entry=entry))

    return {name: weight(name, entry) for name, entry in table.items()}


def _initializers(config):
    normal = truncated_normal(config.init_scale)
    tables = dict.fromkeys(("words", "positions", "types"), normal)
    zeros, ones = nn.initializers.zeros, nn.initializers.ones
    return tables | {"kernel": normal, "scale": ones, "bias": zeros, "output_bias": zeros}


def linear(kernel, bias):
    """Axis table of a dense layer: kernel and bias."""
    return {"kernel": kernel, "bias": bias}


def norm(axes):
    """Axis table of a layer norm: scale and bias."""
    return {"scale": axes, "bias": axes}


def shard_batch(x):
    """Keeps the activations `x` [batch, ...] sharded along their batch alone.

    Without this, XLA would shard the residual stream like the weights under `fsdp`, and move
    activations between devices instead of weights. It acts where a mesh is set by
    `jax.set_mesh`, along those of its axes that no `jax.shard_map` has divided already.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, jax.P(_batch_axes()))


def keep_batch(x):
    """Keeps `x` [batch, ...] divided along its batch, and leaves its other axes to XLA.

    For activations inside a layer, which `tensor` may divide too.
    """
    axes = _batch_axes()
    if not axes:
        return x
    others = [jax.P.UNCONSTRAINED] * (x.ndim - 1)
    return jax.lax.with_sharding_constraint(x, jax.P(axes, *others))


def look_up(table, tokens):
    """Looks up rows of a table [vocab, width] by tokens, int [batch, length].

    Every device looks up its own tokens in whole rows. Under `fsdp` the rows are gathered
    first, like every other weight at its use, and their gradients are reduced. Left to the
    compiler, parts of rows would be looked up and activations moved.
    """
    axes = _batch_axes()
    if not axes:
        return shard_batch(table[tokens])
    whole, rows = jax.P(), jax.P(axes)
    return jax.shard_map(
        lambda table, tokens: table[tokens], axis_names=set(axes),
        in_specs=(whole, rows), out_specs=rows, check_vma=False,
    )(table, tokens)  # fmt: skip


def _batch_axes():
    """The axes of the mesh that divide a batch, without those of a surrounding `shard_map`."""
    mesh = jax.sharding.get_abstract_mesh()
    divided = {axis for axis, size in mesh.shape.items() if size > 1} - set(mesh.manual_axes)
    return tuple(axis for axis in BATCH_AXES if axis in divided)


def dense(weights, x, dims=1):
    """Dense layer: contracts the last `dims` axes of `x` with the kernel's first axes."""
    kernel, bias = (weights[name].astype(x.dtype) for name in ("kernel", "bias"))
    summed = product(x, kernel, dims)
    return summed + _add_axes(bias, summed)


def product(x, kernel, dims=1, multiply=jnp.matmul):
    """`tensordot` as one product of two matrices, which is faster on a CPU.

    `multiply` multiplies two matrices, e.g. `float32_matmul`.
    """
    batch, outputs = x.shape[: x.ndim - dims], kernel.shape[dims:]
    matrix = kernel.reshape(-1, math.prod(outputs))
    return multiply(x.reshape(-1, matrix.shape[0]), matrix).reshape(*batch, *outputs)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def float32_einsum(equation, x, y):
    """`einsum` of two arrays, summed and returned in float32.

    The backward pass casts the gradient of the result to the dtype of `x` and `y` before its
    products. Without the cast, these would mix float32 with bfloat16, which no matrix unit
    supports, and the gradient, as large as all logits, would be stored in float32.
    """
    return jnp.einsum(equation, x, y, preferred_element_type=jnp.float32)


def _float32_einsum_forward(equation, x, y):
    return float32_einsum(equation, x, y), (x, y)


def _float32_einsum_backward(equation, inputs, gradient):
    _, transpose = jax.vjp(functools.partial(jnp.einsum, equation), *inputs)
    return transpose(gradient.astype(inputs[0].dtype))


float32_einsum.defvjp(_float32_einsum_forward, _float32_einsum_backward)
float32_matmul = functools.partial(float32_einsum, "ij,jk->ik")


def layer_norm(weights, x, epsilon=EPSILON):
    """Layer normalisation over the last axis in float32, returned in the dtype of `x`.

    The backward pass stores only `x`. Otherwise it would store three float32 copies.
    """
    return _layer_norm(weights, x, epsilon)


@functools.partial(jax.checkpoint, prevent_cse=False, static_argnums=2)
def _layer_norm(weights, x, epsilon):
    x32 = x.astype(jnp.float32)
    centred = x32 - x32.mean(axis=-1, keepdims=True)
    variance = jnp.square(centred).mean(axis=-1, keepdims=True)
    normal = centred * jax.lax.rsqrt(variance + epsilon)
    return (normal * _add_axes(weights["scale"], x) + _add_axes(weights["bias"], x)).astype(
        x.dtype
    )


def _add_axes(vector, like):
    return jnp.expand_dims(vector, tuple(range(like.ndim - vector.ndim)))


def dropout_seeds(keys, num):
    """Draws `num` dropout seeds at once for each of the keys [batch], uint32 [num, 2, batch].

    Returns None without keys.
    """
    if keys is None:
        return None
    draw = jax.vmap(lambda key: jax.random.bits(key, (num, 2), jnp.uint32), out_axes=-1)
    return draw(keys)


def dropout(x, seed, rate):
    """Dropout: zeroes a fraction `rate` of `x` and scales up the rest.

    A hash of an element's index and of the two seed words of its sequence selects the
    elements. On a CPU, drawing a random number for every element from a key would cost more
    than the layer. The hash costs no more than the multiplication, so the backward pass
    computes it again and stores no mask.

    Args:
      x: float [batch, ...].
      seed: dropout seed, uint32 [2, batch]; None: no dropout.
      rate: at least 0 and below 1.
    """
    if seed is None or rate == 0:
        return x
    return _drop(x, seed, rate)


@functools.partial(jax.checkpoint, static_argnums=2, prevent_cse=False)
def _drop(x, seed, rate):
    first, second = seed.reshape(2, -1, *[1] * (x.ndim - 1))
    index = jax.lax.iota(jnp.uint32, math.prod(x.shape[1:])).reshape(1, *x.shape[1:])
    keep = _hash(_hash(index ^ first) ^ second) >= jnp.uint32(rate * 2**32)
    return jnp.where(keep, x / (1 - rate), 0)


def _hash(word):
    """Hashes 32-bit words by a bijection in which each input bit affects all output bits."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x7FEB352D)
    word = (word ^ (word >> 15)) * jnp.uint32(0x846CA68B)
    return word ^ (word >> 16)


def compute_dtype(config):
    """The dtype of activations: `auto` is bfloat16 where `has_bfloat16`, else float32."""
    if config.dtype != "auto":
        return jnp.dtype(config.dtype)
    return jnp.dtype("bfloat16" if has_bfloat16(jax.devices()[0]) else "float32")


def has_bfloat16(device):
    """Whether the device multiplies bfloat16 in hardware.

    TPUs do, and NVIDIA GPUs of compute capability 8.0 or above. Older GPUs, such as the T4
    (7.5), emulate it, which is slower than float32.
    """
    if device.platform == "cpu":
        return False
    major = str(getattr(device, "compute_capability", "")).partition(".")[0]
    return not major.isdigit() or int(major) >= 8


def attention_mask(inputs, config):
    """The input `mask`, bool [batch, length]; without it, true where no token is `pad_id`."""
    mask = inputs.get("mask")
    return inputs["tokens"] != config.pad_id if mask is None else mask.astype(bool)


def check_length(length, config):
    """Raises `InputError` if a sequence is longer than the position table."""
    if length > config.max_length:
        raise errors.InputError(
            f"sequences of {length} tokens, but max_length is {config.max_length}: "
            "set length to at most max_length, or raise max_length"
        )
