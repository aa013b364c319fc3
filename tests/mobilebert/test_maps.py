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

    every = jax.jit(mobilebert.maps(config))(params, inputs)
    found = [at(params, jnp.int32(layer)) for layer in range(3)]

    assert len(traces) == 1
    single = jax.tree.map(lambda *each: jnp.concatenate(each), *found)
    for name in ("features", "scores"):
        ours, theirs = getattr(single, name), getattr(every, name)
        assert ours.dtype == jnp.float32
        # The same operations, fused otherwise.
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    layers = net.apply(params, inputs)["layers"]
    np.testing.assert_allclose(every.features, layers, rtol=1e-5, atol=1e-5)


def test_scores_are_masked_and_their_softmax_is_the_attention():
    config, inputs = small.config(), tiny.inputs()
    _, params = small.built(config)

    scores = mobilebert.maps(config)(params, inputs).scores

    shares = jax.nn.softmax(scores)
    padding = (inputs["tokens"] == 0)[None, :, None, None]
    assert scores.shape == (3, 3, 2, 16, 16)  # layers, batch, heads, queries, keys
    assert np.isfinite(scores).all()
    assert not (shares * padding).any()
    assert 0.1 < np.abs(np.where(padding, 0, scores)).max() < 100


@pytest.mark.parametrize("remat", ["none", "full"])
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

    spoilt = jax.tree.map(lambda leaf: jnp.asarray(leaf).at[2].set(jnp.nan), params["layers"])

    assert size(params, jnp.int32(1)) == size({**params, "layers": spoilt}, jnp.int32(1))
    traced = [jax.jit(function).lower(params, 1) for function in (size, jax.grad(size))]
    # With a gradient: forwards, the same again in the backward pass, and backwards.
    assert [lowered.as_text().count("stablehlo.case") for lowered in traced] == [1, 3]


@pytest.mark.parametrize("active", [None, 1])
def test_layers_judged_as_they_come_are_judged_as_their_maps_are(active):
    """Values and gradients, though no map outlives its layer; padding counts for nothing."""
    config, inputs = small.config(), tiny.inputs()
    _, params = small.built(config)
    theirs = mobilebert.maps(small.teacher())(small.built(small.teacher())[1], inputs, active)
    share = layer_losses.token_share(inputs["tokens"] != 0)
    judge = layer_losses.judge(share)

    def as_they_come(params):
        seen = mobilebert.watched(config)(params, inputs, judge, theirs, active)["seen"]
        return layer_losses.total(seen.features | seen.scores, 3).sum()

    def afterwards(params):
        mine = mobilebert.maps(config)(params, inputs, active)
        return small.transfer_losses(mine, theirs, share, num_layers=3)[0].sum()

    ours, wanted = (jax.jit(jax.value_and_grad(f))(params) for f in (as_they_come, afterwards))

    np.testing.assert_allclose(ours[0], wanted[0], rtol=1e-6)
    assert wanted[0] > 1
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(wanted[1]))
    jax.tree.map(  # those of the keys' biases are sums that vanish: only rounding is left
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7 * largest),
        ours[1], wanted[1],
    )  # fmt: skip


def test_no_score_is_kept_for_the_backward_pass_of_a_judged_student(capsys):
    """Only the teacher's scores, which come in, have room for all layers."""
    config, inputs = small.config(), tiny.inputs()
    _, params = small.built(config)
    theirs = mobilebert.maps(small.teacher())(small.built(small.teacher())[1], inputs)
    judge = layer_losses.judge(layer_losses.token_share(inputs["tokens"] != 0))

    def loss(params, theirs):
        seen = mobilebert.watched(config)(params, inputs, judge, theirs)["seen"]
        return layer_losses.total(seen.features | seen.scores, 3).sum()

    print_saved_residuals(loss, params, theirs)

    shape = ",".join(map(str, theirs.scores.shape))
    kept = [line for line in capsys.readouterr().out.splitlines() if f"[{shape}]" in line]
    assert kept and all("from the argument" in line for line in kept), kept
