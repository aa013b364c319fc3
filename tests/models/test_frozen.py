"""Tests of frozen layers: same outputs, no gradient, no backward pass."""

import functools

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from bertgrow.core import errors, flops, losses
from bertgrow.models.bert import BertConfig, network

KEYS = tiny.keys(3)


def loss(net, params, inputs):
    outputs = net.apply(params, inputs, KEYS)
    masked = losses.cross_entropy(outputs["mlm_logits"], inputs["targets"], inputs["weights"])
    return masked + outputs["nsp_logits"].sum(), outputs["layers"]


def test_frozen_weights_get_no_gradient():
    net = network(tiny.config(frozen_layers=1))

    gradients, _ = jax.jit(jax.grad(functools.partial(loss, net), has_aux=True))(
        tiny.params(net), tiny.inputs()
    )

    for leaf in jax.tree.leaves(gradients["embeddings"]):
        np.testing.assert_array_equal(leaf, 0)
    for leaf in jax.tree.leaves(gradients["layers"]):
        np.testing.assert_array_equal(leaf[0], 0)
    assert np.abs(gradients["layers"]["up"]["kernel"][1]).max() > 0.1
    assert np.abs(gradients["mlm"]["kernel"]).max() > 0.1


@pytest.mark.slow  # compiles two backward passes
def test_only_gradients_of_frozen_weights_change():
    """With pooling the first layer runs apart, so one frozen layer is outside the scan."""
    form = dict(num_layers=3, pool=2, pool_mode="concat")
    frozen_modules = ("embeddings", "resolution")
    frozen, free = (network(tiny.config(**form, frozen_layers=cut)) for cut in (2, 0))
    params, inputs = tiny.params(free), tiny.inputs()

    (gradients, outputs), (expected, expected_outputs) = (
        jax.jit(jax.grad(functools.partial(loss, net), has_aux=True))(params, inputs)
        for net in (frozen, free)
    )

    np.testing.assert_allclose(outputs, expected_outputs, rtol=1e-5, atol=1e-6)
    for tree in (gradients, expected):
        tree["above"] = jax.tree.map(lambda leaf: leaf[2:], tree["layers"])
    for name in ("above", "mlm", "pooler", "nsp"):
        # Sums of float32 in another order.
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            gradients[name],
            expected[name],
        )
    below = jax.tree.map(lambda leaf: leaf[:2], gradients["layers"])
    for leaf in jax.tree.leaves([below, *(gradients[name] for name in frozen_modules)]):
        np.testing.assert_array_equal(leaf, 0)


def num_iterations(jaxpr):
    """Iterations of all loops in a program."""
    count = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "scan":
            count += eqn.params["length"]
        for inner in jax.extend.core.jaxprs_in_params(eqn.params):
            count += num_iterations(inner) if eqn.primitive.name != "scan" else 0
    return count


@pytest.mark.parametrize("frozen, expected", [(0, 8 + 8), (6, 8 + 2)])
def test_the_backward_pass_ends_above_the_frozen_layers(frozen, expected):
    net = network(tiny.config(num_layers=8, frozen_layers=frozen))
    params = jax.eval_shape(net.init, jax.random.key(0))
    gradients = jax.grad(functools.partial(loss, net), has_aux=True)

    traced = jax.make_jaxpr(gradients)(params, tiny.inputs())

    assert num_iterations(traced.jaxpr) == expected


def test_the_formula_counts_what_the_compiler_counts():
    """A loop's body is counted once, so one layer is frozen and one is not."""
    sizes = dict(vocab_size=3000, num_layers=2, frozen_layers=1)
    config = BertConfig(
        **sizes, next_sentence=True, dtype="float32", dropout=0.0, attention_dropout=0.0
    )
    net, inputs = network(config), tiny.inputs(batch=1, length=128, max_predictions=20)
    params = jax.eval_shape(net.init, jax.random.key(0))

    def score(params):
        outputs = net.apply(params, inputs)
        return jnp.square(outputs["mlm_logits"]).sum() + outputs["nsp_logits"].sum()

    counted = jax.jit(jax.grad(score)).lower(params).cost_analysis()["flops"]

    expected = flops.train_step_flops(config, 128, 20, batch=1)
    assert counted == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("frozen", [-1, 2])
def test_at_least_one_layer_has_to_train(frozen):
    with pytest.raises(
        errors.InputError,
        match="frozen_layers is (2; expected less than num_layers|-1; expected a whole)",
    ):
        network(tiny.config(frozen_layers=frozen))
