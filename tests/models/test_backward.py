"""Tests of saved residuals and products in the backward pass of bfloat16 models, by trace."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import tiny
from jax.extend.core import jaxprs_in_params

from bertgrow.core import losses
from bertgrow.models import layers
from bertgrow.models.bert import network

LENGTH, VOCAB = 24, 101  # no other axis of the model has these sizes


def test_layer_norm_stores_only_its_input():
    shape = jax.ShapeDtypeStruct
    weights = {name: shape((16,), jnp.float32) for name in ("scale", "bias")}
    x = shape((4, 8, 16), jnp.bfloat16)

    def residuals(weights, x):
        return jax.tree.leaves(jax.vjp(layers.layer_norm, weights, x)[1])

    stored = sum(map(num_bytes, jax.eval_shape(residuals, weights, x)))

    assert stored <= num_bytes(x) + sum(map(num_bytes, weights.values()))


def test_products_with_scores_and_with_logits_run_in_bfloat16():
    net = network(tiny.config(dtype="bfloat16", vocab_size=VOCAB))
    inputs = tiny.inputs(length=LENGTH, vocab=VOCAB)

    def loss(params):
        logits = net.apply(params, inputs)["mlm_logits"]
        return losses.cross_entropy(logits, inputs["targets"], inputs["weights"])

    params = jax.eval_shape(net.init, jax.random.key(0))
    products = list(matrix_products(jax.make_jaxpr(jax.grad(loss))(params).jaxpr))

    large = [
        product
        for product in products
        if any(shape[-2:] == (LENGTH, LENGTH) or VOCAB in shape for shape, _ in product)
    ]
    # Of attention the context and the gradients of values, queries and keys; of the head all.
    assert len(large) >= 4 + 3
    assert {dtype for product in large for _, dtype in product} == {jnp.dtype("bfloat16")}


def test_float32_einsum_has_the_gradient_of_einsum():
    rng = np.random.default_rng(0)
    x, y, weights = (rng.standard_normal(s, "f4") for s in [(3, 4), (4, 5), (3, 5)])

    def gradients(einsum, dtype):
        def total(x, y):
            return jnp.sum(einsum("ij,jk->ik", x, y) * weights)

        return jax.grad(total, argnums=(0, 1))(x.astype(dtype), y.astype(dtype))

    expected, wide, narrow = jax.jit(
        lambda: (
            gradients(jnp.einsum, "float32"),
            gradients(layers.float32_einsum, "float32"),
            gradients(layers.float32_einsum, "bfloat16"),
        )
    )()

    jax.tree.map(np.testing.assert_array_equal, wide, expected)
    for actual, reference in zip(narrow, expected, strict=True):
        assert actual.dtype == jnp.bfloat16
        np.testing.assert_allclose(
            actual.astype("float32"), reference, atol=0.05
        )  # 8 bits of 4


def matrix_products(jaxpr):
    """The (shape, dtype) of both operands of every product, in inner programs too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield [(operand.aval.shape, operand.aval.dtype) for operand in equation.invars]
        for inner in jaxprs_in_params(equation.params):
            yield from matrix_products(inner)


def num_bytes(shape):
    return math.prod(shape.shape) * shape.dtype.itemsize
