"""Tests of feature and attention maps of all layers, or of one layer at lower cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_mobilebert as small
import tiny
from jax.ad_checkpoint import print_saved_residuals

from mobilebert.distill import layer_losses
from mobilebert.models import mobilebert


@pytest.mark.parametrize("form", ["student", "teacher"])
def test_one_layers_maps_equal_those_among_all(form):
    config, inputs = small.form(form), tiny.inputs()
    net, params = small.built(config)

    traces = []

    @jax.jit
    def at(params, active):
        traces.append(1)
        return mobilebert.maps(config)(params, inputs, active)

    all_maps = jax.jit(mobilebert.maps(config))(params, inputs)
    single_maps = [at(params, jnp.int32(layer)) for layer in range(3)]

    assert len(traces) == 1
    single = jax.tree.map(lambda *each: jnp.concatenate(each), *single_maps)
    for name in ("features", "scores"):
        actual, expected = getattr(single, name), getattr(all_maps, name)
        assert actual.dtype == jnp.float32
        # The same operations, fused otherwise.
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    layers = net.apply(params, inputs)["layers"]
    np.testing.assert_allclose(all_maps.features, layers, rtol=1e-5, atol=1e-5)


def test_scores_are_masked_and_their_softmax_is_the_attention():
    config, inputs = small.config(), tiny.inputs()
    _, params = small.built(config)

    scores = jax.jit(mobilebert.maps(config))(params, inputs).scores

    probs = jax.nn.softmax(scores)
    padding = (inputs["tokens"] == 0)[None, :, None, None]
    assert scores.shape == (3, 3, 2, 16, 16)  # layers, batch, heads, queries, keys
    assert np.isfinite(scores).all()
    assert not (probs * padding).any()
    assert 0.1 < np.abs(np.where(padding, 0, scores)).max() < 100


@pytest.mark.parametrize("remat", ["none", pytest.param("full", marks=pytest.mark.slow)])
def test_gradients_stop_at_the_active_layer(remat):
    config, inputs = small.config(remat=remat), tiny.inputs()
    _, params = small.built(small.config())

    def size(params, layer):
        features, scores = mobilebert.maps(config)(params, inputs, layer)
        return jnp.square(features).mean() + jnp.square(scores.clip(-100)).mean()

    gradient = jax.jit(jax.grad(size))(params, jnp.int32(1))

    for leaf in jax.tree.leaves(gradient["layers"]):
        assert not leaf[2].any()
    for part in ("up", "query", "expand"):
        assert gradient["layers"][part]["kernel"][:2].all(axis=0).any()
    assert gradient["embeddings"]["words"].any()
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient["mlm"]))


def test_gradients_of_the_last_layer_are_those_of_the_whole_network():
    inputs = tiny.inputs()
    _, params = small.built(small.config())

    def size(params, remat, active):
        maps = mobilebert.maps(small.config(remat=remat))
        features, scores = maps(params, inputs, active)
        return jnp.square(features[-1]).mean() + jnp.square(scores[-1].clip(-100)).mean()

    gradient = jax.jit(jax.grad(size), static_argnums=1)
    early, whole = gradient(params, "dots", jnp.int32(2)), gradient(params, "none", None)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max() + 1e-7),
        early, whole,
    )  # fmt: skip


def test_layers_above_the_active_one_do_no_work():
    """Each turn of the scan branches, forwards and backwards, and reads nothing above."""
    config, inputs = small.config(), tiny.inputs()
    _, params = small.built(config)

    @jax.jit
    def size(params, active):
        return jnp.square(mobilebert.maps(config)(params, inputs, active).features).mean()

    with_nan = jax.tree.map(lambda leaf: jnp.asarray(leaf).at[2].set(jnp.nan), params["layers"])

    assert size(params, jnp.int32(1)) == size({**params, "layers": with_nan}, jnp.int32(1))
    traced = [jax.jit(function).lower(params, 1) for function in (size, jax.grad(size))]
    # With a gradient: forwards, the same again in the backward pass, and backwards.
    assert [lowered.as_text().count("stablehlo.case") for lowered in traced] == [1, 3]


@pytest.mark.parametrize("active", [pytest.param(None, marks=pytest.mark.slow), 1])
def test_losses_of_a_hook_equal_losses_of_whole_maps(active):
    """Values and gradients, though no map is kept after its layer; padding does not count."""
    config, inputs = small.config(), tiny.inputs()
    _, params = small.built(config)
    teacher_maps = jax.jit(mobilebert.maps(small.teacher()))(
        small.built(small.teacher())[1], inputs, active
    )
    weights = layer_losses.weigh_tokens(inputs["tokens"] != 0)
    hook = layer_losses.hook(weights)

    def in_hook(params):
        outputs = mobilebert.with_hook(config)(params, inputs, hook, teacher_maps, active)[
            "hook_outputs"
        ]
        return layer_losses.total(outputs.features | outputs.scores, 3).sum()

    def after_maps(params):
        student_maps = mobilebert.maps(config)(params, inputs, active)
        return small.transfer_losses(student_maps, teacher_maps, weights, num_layers=3)[0].sum()

    actual, expected = (jax.jit(jax.value_and_grad(f))(params) for f in (in_hook, after_maps))

    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-6)
    assert expected[0] > 1
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected[1]))
    jax.tree.map(  # those of the keys' biases are sums that vanish: only rounding is left
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7 * largest),
        actual[1], expected[1],
    )  # fmt: skip


def test_losses_of_a_hook_keep_no_scores_for_the_backward_pass(capsys):
    """Only the teacher's scores, an argument, have an axis of all layers."""
    config, inputs = small.config(), tiny.inputs()
    _, params = small.built(config)
    shapes = jax.eval_shape(
        mobilebert.maps(small.teacher()), small.built(small.teacher())[1], inputs
    )
    teacher_maps = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    hook = layer_losses.hook(layer_losses.weigh_tokens(inputs["tokens"] != 0))

    def loss(params, teacher_maps):
        outputs = mobilebert.with_hook(config)(params, inputs, hook, teacher_maps)[
            "hook_outputs"
        ]
        return layer_losses.total(outputs.features | outputs.scores, 3).sum()

    print_saved_residuals(loss, params, teacher_maps)

    shape = ",".join(map(str, teacher_maps.scores.shape))
    residuals = [line for line in capsys.readouterr().out.splitlines() if f"[{shape}]" in line]
    assert residuals and all("from the argument" in line for line in residuals), residuals
