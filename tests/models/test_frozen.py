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

KEY = jax.random.key(3)


def loss(net, params, inputs):
    outputs = net.apply(params, inputs, KEY)
    masked = losses.cross_entropy(outputs["mlm_logits"], inputs["targets"], inputs["weights"])
    return masked + outputs["nsp_logits"].sum(), outputs["layers"]


def weights(net):
    """Random ones, made without compiling."""
    draw = np.random.default_rng(0)

    def at_leaf(path, leaf):
        start = 1.0 if path[-1].key == "scale" else 0.0
        return np.float32(start + 0.1 * draw.standard_normal(leaf.shape))

    return jax.tree.map_with_path(at_leaf, jax.eval_shape(net.init, jax.random.key(0)))


def test_no_gradient_reaches_what_is_frozen():
    net = network(tiny.config(frozen_layers=1))

    gradients, _ = jax.jit(jax.grad(functools.partial(loss, net), has_aux=True))(
        weights(net), tiny.inputs()
    )

    for leaf in jax.tree.leaves(gradients["embeddings"]):
        np.testing.assert_array_equal(leaf, 0)
    for leaf in jax.tree.leaves(gradients["layers"]):
        np.testing.assert_array_equal(leaf[0], 0)
    assert np.abs(gradients["layers"]["up"]["kernel"][1]).max() > 0.1
    assert np.abs(gradients["mlm"]["kernel"]).max() > 0.1


@pytest.mark.slow  # compiles two backward passes
def test_what_is_frozen_gets_no_gradient_and_the_rest_gets_its_own():
    """With pooling the first layer runs apart, so one frozen layer is outside the scan."""
    form, still = dict(num_layers=3, pool=2, pool_mode="concat"), ("embeddings", "resolution")
    frozen, free = (network(tiny.config(**form, frozen_layers=cut)) for cut in (2, 0))
    params, inputs = weights(free), tiny.inputs()

    (here, outputs), (there, expected) = (
        jax.jit(jax.grad(functools.partial(loss, net), has_aux=True))(params, inputs)
        for net in (frozen, free)
    )

    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    for tree in (here, there):
        tree["above"] = jax.tree.map(lambda leaf: leaf[2:], tree["layers"])
    for name in ("above", "mlm", "pooler", "nsp"):
        # Sums of float32 in another order.
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            here[name],
            there[name],
        )
    below = jax.tree.map(lambda leaf: leaf[:2], here["layers"])
    for leaf in jax.tree.leaves([below, *(here[name] for name in still)]):
        np.testing.assert_array_equal(leaf, 0)


def turns(jaxpr):
    """How often the bodies of all loops in a program are run."""
    count = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "scan":
            count += eqn.params["length"]
        for inner in jax.extend.core.jaxprs_in_params(eqn.params):
            count += turns(inner) if eqn.primitive.name != "scan" else 0
    return count


@pytest.mark.parametrize("frozen, expected", [(0, 8 + 8), (6, 8 + 2)])
def test_the_backward_pass_ends_above_the_frozen_layers(frozen, expected):
    net = network(tiny.config(num_layers=8, frozen_layers=frozen))
    params = jax.eval_shape(net.init, jax.random.key(0))
    gradients = jax.grad(functools.partial(loss, net), has_aux=True)

    traced = jax.make_jaxpr(gradients)(params, tiny.inputs())

    assert turns(traced.jaxpr) == expected


def test_the_formula_counts_what_the_compiler_counts():
    """A loop's body is counted once, so one layer is frozen and one is not."""
    sizes = dict(vocab_size=3000, num_layers=2, frozen_layers=1)
    config = BertConfig(
        **sizes, next_sentence=True, dtype="float32", dropout=0.0, attention_dropout=0.0
    )
    net, inputs = network(config), tiny.inputs(batch=1, length=128, slots=20)
    params = jax.eval_shape(net.init, jax.random.key(0))

    def score(params):
        outputs = net.apply(params, inputs)
        return jnp.square(outputs["mlm_logits"]).sum() + outputs["nsp_logits"].sum()

    counted = jax.jit(jax.grad(score)).lower(params).cost_analysis()["flops"]

    told = flops.train_step_flops(config, 128, 20, batch=1)
    assert counted == pytest.approx(told, rel=0.02)


@pytest.mark.parametrize("frozen", [-1, 2])
def test_at_least_one_layer_learns(frozen):
    with pytest.raises(
        errors.InputError,
        match="frozen_layers is (2; expected less than num_layers|-1; expected a whole)",
    ):
        network(tiny.config(frozen_layers=frozen))
