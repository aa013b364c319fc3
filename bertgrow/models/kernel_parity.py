"""Compares a kernel with XLA in float32 on the device at hand: values and gradients."""

import jax
import jax.numpy as jnp

from bertgrow.models import encoder, kernels

# Relative to the norm. Rounding to bfloat16 gave 0.0022 to 0.0029 (cuDNN on an H200); a kernel
# that sees the padding gives 0.3 and more.
TOLERANCE = 0.01


def largest_error(name, length, heads, size, dtype):
    """Largest relative error of a kernel over its output and its three gradients.

    The batch has a full sequence, one that fills less than a half, one of a single token, and
    one with a single token of padding. Padding of keys and values is large, so that a kernel
    that reads it is found. Outputs at padding are not compared.

    Args:
      name: see `kernels.run`.
      length: tokens of a sequence.
      heads, size: number and size of the heads.
      dtype: 16-bit dtype of the activations.

    Returns:
      float; NaN if an output is not a number.
    """
    tokens = jnp.array([length, max(1, length * 2 // 5), 1, length - 1])
    mask = jnp.arange(length)[None] < tokens[:, None]
    shape = (len(tokens), length, heads, size)
    *inputs, gradient = (
        jax.random.normal(key, shape, dtype) for key in jax.random.split(jax.random.key(0), 4)
    )
    inputs = [inputs[0], *(_large_at_padding(x, mask) for x in inputs[1:])]

    def expected(*inputs):
        return encoder.attention(*inputs, mask, None, 0.0)[0]

    def measured(*inputs):
        return kernels.run(name, *inputs, mask)

    with jax.default_matmul_precision("highest"):
        wanted = _with_gradients(
            expected, [x.astype(jnp.float32) for x in inputs], gradient, mask
        )
    pairs = zip(_with_gradients(measured, inputs, gradient, mask), wanted, strict=True)
    return float(jnp.stack([_relative(*pair) for pair in pairs]).max())


def _large_at_padding(x, mask):
    return jnp.where(mask[..., None, None], x, 30.0).astype(x.dtype)


def _with_gradients(attend, inputs, gradient, mask):
    """Output and gradients, zero at padding."""

    @jax.jit
    def run(inputs, gradient):
        output, backward = jax.vjp(attend, *inputs)
        kept = jnp.where(mask[..., None, None], gradient, 0).astype(output.dtype)
        return [jnp.where(mask[..., None, None], x, 0) for x in (output, *backward(kept))]

    return run(inputs, gradient)


def _relative(measured, expected):
    difference = measured.astype(jnp.float32) - expected
    return jnp.linalg.norm(difference.ravel()) / jnp.linalg.norm(expected.ravel())
