"""Tests that a folded student computes the same function with fewer operations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_mobilebert as small
import tiny

from bertgrow.core import errors, tree
from mobilebert.models import fold, mobilebert, presets
from mobilebert.models.config import MobileBertConfig

WIRINGS = ["student", "table1", "tiny"]
INPUTS = tiny.inputs()


def apart(params, seed=3):
    """The parameters with gains far from one, of either sign."""
    rng = np.random.default_rng(seed)

    def at_leaf(path, leaf):
        if path[-1].key != "scale":
            return leaf
        return np.float32(rng.choice([-1, 1], leaf.shape) * rng.uniform(0.3, 2, leaf.shape))

    return jax.tree_util.tree_map_with_path(at_leaf, params)


def assert_close(actual, expected):
    """Within 1e-5 of the largest value: a sum of float32 terms in another order."""
    for name in ("hidden", "layers", "mlm_logits", "nsp_logits"):
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(actual[name] / scale, expected[name] / scale, atol=1e-5)


@pytest.mark.parametrize("form", WIRINGS)
def test_folding_leaves_the_function_as_it_is(form):
    config = small.form(form)
    net, start = small.built(config)
    params = apart(start)

    changed, folded = fold.fold(params, config)

    assert_close(small.built(folded)[0].apply(changed, INPUTS), net.apply(params, INPUTS))


@pytest.mark.parametrize("form", WIRINGS)
def test_the_folded_network_has_no_shift_and_one_gain_a_block(form):
    config = small.form(form)
    params = small.built(config)[1]

    changed, folded = fold.fold(params, config)

    fresh = jax.eval_shape(mobilebert.network(folded).init, jax.random.key(0))
    assert jax.tree.map(jnp.shape, changed) == jax.tree.map(jnp.shape, fresh)
    norms = [name for name in changed["layers"] if name.endswith("_norm")]
    assert norms == ["expand_norm"]
    assert changed["layers"]["expand_norm"].keys() == {"scale"}
    assert "norm" not in changed["embeddings"]


def test_folding_the_released_student_removes_as_many_operations_as_the_docs_say():
    """A gain or shift is one multiplication or addition a token (docs/transfer.md)."""
    config = MobileBertConfig(**presets.mobilebert())
    folded = dataclasses.replace(config, norm="folded")

    def parameters(config):
        return tree.count(jax.eval_shape(mobilebert.network(config).init, jax.random.key(0)))

    removed = parameters(config) - parameters(folded)
    assert removed == 24 * (7 * 2 * 128 + 512) + 2 * 512 == 56_320


def test_norms_that_depend_on_the_input_are_refused():
    config = small.form("without_opt")

    with pytest.raises(errors.InputError, match="norm is 'layer'; expected 'none'"):
        fold.fold({}, config)


def test_a_gain_of_zero_is_refused_with_its_place():
    config = small.form("student")
    params = small.trained(mobilebert.network(config))
    params["layers"]["mlp_norm"]["scale"][1, 0, 5] = 0

    with pytest.raises(
        errors.InputError, match="mlp_norm multiply to 0.0 in layer 1, channel 5"
    ):
        fold.fold(params, config)


def test_a_gain_of_zero_that_is_no_divisor_is_folded():
    config = small.form("student")
    net, start = small.built(config)
    params = jax.tree.map(np.copy, start)
    for name in ("bottleneck_norm", "shared_norm", "attention_norm", "expand_norm"):
        params["layers"][name]["scale"][..., 3] = 0

    changed, folded = fold.fold(params, config)

    assert_close(small.built(folded)[0].apply(changed, INPUTS), net.apply(params, INPUTS))
