"""Compares a kernel with XLA in float32 on the device at hand: values and gradients."""

import jax
import jax.numpy as jnp

from bertgrow.models import encoder, kernels

# Relative to the norm. Rounding to bfloat16 gave 0.0022 to 0.0029 (cuDNN on an H200); a kernel
# that reads the padding gives 0.3 and more.
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

    @jax.jit  # one program: a GPU takes seconds to compile each
    def error():
        mask = _mask(length)
        *inputs, gradient = _inputs(mask, (len(mask), length, heads, size), dtype)

        def measured(*inputs):
            return kernels.run(name, *inputs, mask)

        def expected(*inputs):
            return encoder.attention(*inputs, mask, None, 0.0)[0]

        outputs = _with_gradients(measured, inputs, gradient, mask)
        with jax.default_matmul_precision("highest"):
            inputs = [x.astype(jnp.float32) for x in inputs]
            wanted = _with_gradients(expected, inputs, gradient, mask)
        return jnp.stack([_relative(*pair) for pair in zip(outputs, wanted, strict=True)]).max()

    return float(error())


def _mask(length):
    tokens = jnp.array([length, max(1, length * 2 // 5), 1, length - 1])
    return jnp.arange(length)[None] < tokens[:, None]


def _inputs(mask, shape, dtype):
    """Queries, keys, values and a gradient; keys and values are large at padding."""
    keys = jax.random.split(jax.random.key(0), 4)
    drawn = [jax.random.normal(key, shape, dtype) for key in keys]
    large = jnp.where(mask[..., None, None], 0, 30).astype(dtype)
    return drawn[0], drawn[1] + large, drawn[2] + large, drawn[3]


def _with_gradients(attend, inputs, gradient, mask):
    """Output and gradients, zero at padding."""
    is_token = mask[..., None, None]
    output, backward = jax.vjp(attend, *inputs)
    gradients = backward(jnp.where(is_token, gradient, 0).astype(output.dtype))
    return [jnp.where(is_token, x, 0) for x in (output, *gradients)]


def _relative(measured, expected):
    difference = measured.astype(jnp.float32) - expected
    return jnp.linalg.norm(difference.ravel()) / jnp.linalg.norm(expected.ravel())
