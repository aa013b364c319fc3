"""Tests that hold for the full network and for all its low-cost forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from bertgrow.core import errors, losses, tree
from bertgrow.models.bert import BertConfig, family, network, sizes

FORMS = {
    "plain": {},
    "mean": {"pool": 2, "ffn_share": 2},
    "concat pre": {"pool": 2, "pool_mode": "concat", "norm_order": "pre"},
    "cheap": {"ffn_rank": 6, "light_every": 2},
}


@functools.cache
def built(**overrides):
    """The network, compiled once for all tests, and parameters."""
    net = network(tiny.config(**overrides))
    return net._replace(apply=jax.jit(net.apply)), tiny.params(net)


def loss(net, params, inputs, keys=None):
    outputs = net.apply(params, inputs, keys)
    masked = losses.cross_entropy(outputs["mlm_logits"], inputs["targets"], inputs["weights"])
    follows = jnp.zeros(len(inputs["tokens"]), jnp.int32)
    return masked + losses.cross_entropy(outputs["nsp_logits"], follows, follows + 1.0)


BASE = dict(width=768, num_heads=12, ffn_width=3072)
LARGE = dict(width=1024, num_heads=16, ffn_width=4096)


@pytest.mark.parametrize(
    "shape, num_layers, ffn_share, encoder, with_head",
    [
        (BASE, 3, 2, 38_608_896, 39_231_546),
        (BASE, 6, 2, 52_790_016, 53_412_666),
        (BASE, 12, 2, 81_152_256, 81_774_906),
        (BASE, 12, 1, 109_482_240, 110_104_890),
        (LARGE, 6, 2, 83_231_744, None),
        (LARGE, 12, 2, 133_630_976, None),
        (LARGE, 24, 2, 234_429_440, None),
        (LARGE, 24, 1, 335_141_888, None),
    ],
)
def test_parameter_counts_are_those_published(shape, num_layers, ffn_share, encoder, with_head):
    config = BertConfig(**shape, num_layers=num_layers, ffn_share=ffn_share)

    params = jax.eval_shape(network(config).init, jax.random.key(0))

    head = tree.count(params["mlm"])
    assert tree.count(params) - head == encoder
    assert with_head in (None, encoder + head)


@pytest.mark.parametrize("form", FORMS)
def test_axis_names_and_sizes_agree_with_the_parameters(form):
    config = tiny.config(**FORMS[form])
    net = network(config)
    params = jax.eval_shape(net.init, jax.random.key(0))

    actual = tree.sizes(params, net.axes)

    expected = sizes(config) | {"classes": 2}
    assert actual == {axis: expected[axis] for axis in actual}
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("form", FORMS)
def test_padding_changes_no_logit(form):
    # Published pooling averages padding inside a window; an even number of tokens that are
    # not targets, after [CLS], leaves padding windows of its own.
    net, params = built(**FORMS[form])
    short = tiny.inputs(batch=2, length=13 if form != "concat pre" else 12)
    for name in short:
        short[name][1] = short[name][0]
    padded = {**short}
    for name in ("tokens", "types"):
        padded[name] = np.pad(short[name], ((0, 0), (0, 6)))

    expected, actual = net.apply(params, short), net.apply(params, padded)

    # Sums of one length in another order: 1e-5 is a few float32 steps at logits near 5.
    for name in ("mlm_logits", "nsp_logits"):
        np.testing.assert_allclose(actual[name], expected[name], atol=1e-5)


def test_every_token_attends_to_every_other():
    net, params = built()

    @jax.jit
    @jax.grad
    def dependence(table):
        embeddings = {**params["embeddings"], "positions": table}
        return net.apply({**params, "embeddings": embeddings}, tiny.inputs())["hidden"][
            0, -1, 0
        ]

    gradient = dependence(params["embeddings"]["positions"])

    assert (np.abs(gradient[:16]).max(axis=1) > 1e-6).all()
    assert not gradient[16:].any()  # the sequence has 16 tokens


def test_without_keys_there_is_no_dropout_and_with_keys_there_is():
    net, params = built()
    inputs, one, other = tiny.inputs(), tiny.keys(1), tiny.keys(2)
    hidden = [
        net.apply(params, inputs, keys)["hidden"] for keys in (None, None, one, one, other)
    ]

    assert np.array_equal(hidden[0], hidden[1])
    assert np.array_equal(hidden[2], hidden[3])
    assert not np.allclose(hidden[0], hidden[2], atol=1e-2)
    assert not np.allclose(hidden[2], hidden[4], atol=1e-2)


@pytest.mark.parametrize("form", ["concat pre", "cheap"])  # these have all kinds of weights
def test_gradients_reach_every_weight(form):
    net, params = built(**FORMS[form])

    gradients = jax.jit(jax.grad(lambda params: loss(net, params, tiny.inputs())))(params)

    zero = {
        tree.path_name(path)
        for path, leaf in jax.tree.leaves_with_path(gradients)
        if np.abs(leaf).max() < 1e-7
    }
    # Softmax ignores the constant that a key's bias adds to all logits of a query.
    assert zero <= {"layers/key/bias"}


def test_without_next_sentence_there_is_no_head_and_the_pooler_gets_no_gradient():
    net, inputs = network(tiny.config(next_sentence=False)), tiny.inputs()
    params = tiny.params(net)

    def total(pooler):
        return net.apply({**params, "pooler": pooler}, inputs)["mlm_logits"].sum()

    outputs = jax.eval_shape(net.apply, params, inputs)
    gradients = jax.jit(jax.grad(total))(params["pooler"])

    assert "nsp" not in params and "nsp_logits" not in outputs
    assert not gradients["kernel"].any()


@pytest.mark.slow  # compiles four backward passes
@pytest.mark.parametrize("remat, form", [("dots", "plain"), ("full", "mean")])
def test_remat_changes_no_gradient(remat, form):
    (_, params), keys, inputs = built(**FORMS[form]), tiny.keys(5), tiny.inputs()

    def gradients(remat):
        net = network(tiny.config(**FORMS[form], remat=remat))
        return jax.jit(jax.grad(lambda params: loss(net, params, inputs, keys)))(params)

    expected, actual = gradients("none"), gradients(remat)

    # Another fusion of the same float32 operations; the gradients are of size 1.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), actual, expected)


def test_unused_layer_outputs_take_no_memory():
    net = network(tiny.config(num_layers=32))
    params = jax.eval_shape(net.init, jax.random.key(0))
    inputs = tiny.inputs(batch=16, length=32)

    def memory(*names):
        def outputs(params):
            return [net.apply(params, inputs)[name] for name in names]

        return jax.jit(outputs).lower(params).compile().memory_analysis()

    stacked = 32 * 16 * 32 * 32 * 4
    unused, used = memory("hidden"), memory("hidden", "layers")

    assert unused.temp_size_in_bytes < stacked
    assert used.output_size_in_bytes - unused.output_size_in_bytes >= stacked


def test_bfloat16_stays_close_to_float32():
    inputs = tiny.inputs()
    wide, params = built()
    narrow = network(tiny.config(dtype="bfloat16"))

    expected, actual = wide.apply(params, inputs), jax.jit(narrow.apply)(params, inputs)

    assert actual["hidden"].dtype == jnp.bfloat16
    assert actual["mlm_logits"].dtype == actual["nsp_logits"].dtype == jnp.float32
    # bfloat16 has eight bits: hidden values near 2 have steps of 1/64.
    np.testing.assert_allclose(actual["hidden"].astype(float), expected["hidden"], atol=0.06)
    np.testing.assert_allclose(actual["mlm_logits"], expected["mlm_logits"], atol=0.06)


def test_equal_shapes_trace_once():
    net = network(tiny.config(**FORMS["mean"]))
    params, traces = tiny.params(net), []

    @jax.jit
    def run(params, inputs, keys):
        traces.append(1)
        return net.apply(params, inputs, keys)["mlm_logits"]

    run.trace(params, tiny.inputs(seed=0), tiny.keys(0))
    run.trace(params, tiny.inputs(seed=1), tiny.keys(1))

    assert len(traces) == 1


@pytest.mark.parametrize("form", FORMS)
def test_without_positions_there_are_no_masked_logits(form):
    net = network(tiny.config(**FORMS[form]))
    params = jax.eval_shape(net.init, jax.random.key(0))
    inputs = {name: tiny.inputs()[name] for name in ("tokens", "types")}

    outputs = jax.eval_shape(net.apply, params, inputs)

    assert "mlm_logits" not in outputs
    assert outputs["nsp_logits"].shape == (3, 2)


@pytest.fixture(scope="module")
def initial():
    """A configuration with a large vocabulary, and its initial parameters."""
    config = tiny.config(vocab_size=5000, width=64, positions_init="sinusoids")
    return config, network(config).init(jax.random.key(0))


def test_initial_weights_are_those_of_bert(initial):
    config, params = initial

    words = params["embeddings"]["words"]

    assert np.abs(words).max() <= 2 * config.init_scale
    # Truncated at two deviations, 0.8796 of sigma; 320,000 draws resolve 0.2 %.
    assert words.std() == pytest.approx(0.8796 * config.init_scale, rel=0.005)
    assert (params["layers"]["mlp_norm"]["scale"] == 1).all()
    assert not params["layers"]["up"]["bias"].any()
    assert not np.allclose(*params["layers"]["up"]["kernel"])


def test_sinusoidal_positions_turn_by_a_constant_angle(initial):
    params = initial[1]["embeddings"]
    sines, cosines = np.split(np.asarray(params["positions"], np.float64), 2, axis=1)

    angles = np.diff(np.unwrap(np.arctan2(sines, cosines), axis=0), axis=0)

    slowest = 100 ** (-31 / 32)
    np.testing.assert_allclose(angles, np.tile(angles[:1], (31, 1)), atol=1e-5)
    np.testing.assert_allclose(angles[0, [0, -1]], [1, slowest], atol=1e-5)
    amplitude = 1.5 * np.sqrt(2) * params["words"].std()
    np.testing.assert_allclose(np.hypot(sines, cosines), amplitude, rtol=0.01)


@pytest.mark.parametrize(
    "overrides, field",
    [
        ({"num_heads": 5}, "num_heads"),
        ({"ffn_share": 3}, "ffn_share"),
        ({"num_layers": 0}, "num_layers"),
        ({"dropout": 1.0}, "dropout"),
        ({"activation": "swish"}, "activation"),
        ({"pool_mode": "sum"}, "pool_mode"),
        ({"norm_order": "sandwich"}, "norm_order"),
        ({"ffn_rank": -1}, "ffn_rank"),
        ({"light_every": 1}, "light_every"),
        ({"light_every": 3}, "light_every 3 does not divide num_layers"),
        ({"pool": 32}, "pool"),
        ({"pad_id": 100}, "pad_id"),
        ({"init_scale": 0.0}, "init_scale"),
    ],
)
def test_the_error_names_the_invalid_field(overrides, field):
    with pytest.raises(errors.InputError, match=field):
        network(tiny.config(**overrides))


def test_a_sequence_longer_than_the_position_table_is_refused():
    net = network(tiny.config())
    params = jax.eval_shape(net.init, jax.random.key(0))

    with pytest.raises(errors.InputError, match="33 tokens.*max_length is 32"):
        jax.eval_shape(net.apply, params, tiny.inputs(length=33))


def test_the_family_builds_its_configuration():
    config = family.config(num_layers=1, width=32, num_heads=4, ffn_width=64, vocab_size=100)

    params = jax.eval_shape(family.network(config).init, jax.random.key(0))

    assert params["layers"]["up"]["kernel"].shape == (1, 32, family.sizes(config)["mlp"])
    assert family.flops(config, 16, 4)["layers"] > 0
