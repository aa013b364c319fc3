"""Tests of students and teacher: sizes, wiring, precision and visibility of padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_mobilebert as small
import tiny

from bertgrow.core import errors, losses, tree
from bertgrow.models import layers
from mobilebert.family import mobilebert
from mobilebert.models import blocks, flops, presets
from mobilebert.models.config import MobileBertConfig
from mobilebert.models.embeddings import Embeddings, MaskedHead
from mobilebert.models.mobilebert import network

FORMS = [*small.FORMS, "teacher"]
HEADS = ("mlm", "nsp", "pooler")


def loss(net, params, inputs, keys=None):
    outputs = net.apply(params, inputs, keys)
    masked = losses.cross_entropy(outputs["mlm_logits"], inputs["targets"], inputs["weights"])
    follows = jnp.zeros(len(inputs["tokens"]), jnp.int32)
    return masked + losses.cross_entropy(outputs["nsp_logits"], follows, follows + 1.0)


@pytest.mark.parametrize(
    "preset, encoder, with_heads",
    [
        (presets.ib_bert_large, 294_205_184, 306_483_516),
        (presets.mobilebert, 24_581_888, 36_597_564),
        (presets.mobilebert_table1, 25_359_104, 37_374_780),
        (presets.mobilebert_without_opt, 25_359_104, 37_374_780),
        (presets.mobilebert_tiny, 15_485_696, 27_501_372),
    ],
)
def test_parameters_number_as_in_the_released_models(preset, encoder, with_heads):
    config = MobileBertConfig(**preset())

    params = jax.eval_shape(network(config).init, jax.random.key(0))

    heads = sum(tree.count(params[name]) for name in HEADS if name in params)
    assert tree.count(params) - heads == encoder
    assert tree.count(params) == with_heads
    assert tree.count(params.get("pooler", {})) in (0, 262_656)


@pytest.mark.parametrize(
    "preset, gigaflops",
    [
        (presets.ib_bert_large, (75.75, 236.9, 322.3)),
        (presets.mobilebert, (5.39, 17.36, 23.96)),
        (presets.mobilebert_table1, (5.59, 17.97, 24.76)),
        (presets.mobilebert_tiny, (3.07, 10.42, 14.70)),
    ],
)
def test_encoders_cost_what_matrix_products_cost(preset, gigaflops):
    config = MobileBertConfig(**preset())

    parts = [flops.forward(config, length, 20) for length in (128, 384, 512)]

    actual = [(each["embeddings"] + each["layers"]) / 1e9 for each in parts]
    np.testing.assert_allclose(actual, gigaflops, rtol=0.001)  # as rounded there


@pytest.mark.parametrize("form", FORMS)
def test_the_compiler_counts_the_same(form):
    """One block and one FFN, because the body of a loop is counted once.

    The compiler also counts elementwise work, under 3 % at this width.
    """
    sizes = dict(
        num_layers=1, num_ffns=1, width=512, table_width=128, body_width=256, num_heads=2,
        ffn_width=512, vocab_size=1000, max_length=128,
    )  # fmt: skip
    config = small.form(form, **sizes)
    net, inputs = network(config), tiny.inputs(batch=1, length=128, max_predictions=20)
    params = jax.eval_shape(net.init, jax.random.key(0))

    def outputs(params):
        out = net.apply(params, inputs)
        return out["mlm_logits"], out["nsp_logits"]

    counted = jax.jit(outputs).lower(params).cost_analysis()["flops"]

    assert counted == pytest.approx(sum(flops.forward(config, 128, 20).values()), rel=0.03)


@pytest.mark.parametrize("form", FORMS)
def test_axis_names_and_sizes_agree_with_the_parameters(form):
    config = small.form(form)
    net, params = small.built(config)

    actual = tree.sizes(params, net.axes)

    assert actual == mobilebert.sizes(config) | {"classes": 2}


@pytest.mark.parametrize("form", ["student", "tiny", "teacher"])
def test_gradients_reach_every_weight(form):
    net, params = small.built(small.form(form))

    gradients = jax.jit(jax.grad(lambda params: loss(net, params, tiny.inputs())))(params)

    still = {
        tree.path_name(path)
        for path, leaf in jax.tree.leaves_with_path(gradients)
        if np.abs(leaf).max() < 1e-7
    }
    # Softmax ignores what a key's bias adds to all scores of a row.
    assert still <= {"layers/key/bias"}


@pytest.mark.parametrize("form", ["student", "teacher"])
def test_the_scan_equals_a_loop_over_blocks(form):
    config, inputs = small.form(form), tiny.inputs()
    net, params = small.built(config)
    mask = jnp.asarray(inputs["tokens"] != 0)

    hidden, _ = Embeddings(config).apply(
        {"params": params["embeddings"]}, inputs["tokens"], inputs["types"]
    )
    outputs = []
    for layer in range(config.num_layers):
        weights = jax.tree.map(lambda leaf: leaf[layer], params["layers"])  # noqa: B023
        hidden, _ = blocks.block(weights, hidden, mask, config=config)
        outputs.append(hidden)

    scanned = net.apply(params, inputs)["layers"]
    # The same float32 operations, fused otherwise.
    np.testing.assert_allclose(scanned, jnp.stack(outputs), rtol=1e-5, atol=1e-5)


def test_attention_on_the_input_is_that_on_a_shared_bottleneck_that_changes_nothing():
    """So the wiring that no other implementation runs rests on one that is compared."""
    sizes, inputs = dict(body_width=24, width=24), tiny.inputs()
    net, params = small.built(small.config(**sizes))
    same = jax.tree.map(np.zeros_like, params["layers"]["shared_norm"]) | {
        "scale": np.ones((3, 24), np.float32)
    }
    through = {"kernel": np.tile(np.eye(24, dtype=np.float32), (3, 1, 1)), "bias": same["bias"]}
    kept = {name: part for name, part in params["layers"].items() if "shared" not in name}

    shared = kept | {"shared": through, "shared_norm": same}
    expected = net.apply({**params, "layers": shared}, inputs)
    straight = network(small.config(**sizes, attention_input="input"))
    actual = jax.jit(straight.apply)({**params, "layers": kept}, inputs)

    for name in ("hidden", "mlm_logits"):
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-5, atol=1e-5)


def test_the_word_before_padding_sees_that_padding_follows():
    """The trigram reads [PAD] like any word, as published, so padding is not invisible."""
    config = small.config()
    _, params = small.built(config)
    tokens = np.full((1, 8), 7, np.int32)

    def embedded(padding):
        padded = np.pad(tokens, ((0, 0), (0, padding)))
        given = {"params": params["embeddings"]}
        return Embeddings(config).apply(given, padded, padded * 0)[0][:, :8]

    alone, before_one, before_many = (embedded(padding) for padding in (0, 1, 6))

    np.testing.assert_array_equal(before_one, before_many)
    np.testing.assert_array_equal(alone[:, :-1], before_one[:, :-1])
    assert np.abs(alone[:, -1] - before_one[:, -1]).max() > 0.01


@pytest.mark.parametrize("form", ["student", "teacher"])
def test_more_padding_is_invisible_where_there_is_some(form):
    net, params = small.built(small.form(form))
    short = {name: rows[2:] for name, rows in tiny.inputs().items()}  # ends in 4 x padding
    longer = {**short}
    for name in ("tokens", "types"):
        longer[name] = np.pad(short[name], ((0, 0), (0, 6)))

    left, right = net.apply(params, short), net.apply(params, longer)

    for name in ("mlm_logits", "nsp_logits"):
        # Sums of one length in another order, of values up to 10.
        np.testing.assert_allclose(left[name], right[name], rtol=1e-4, atol=1e-4)


def test_without_a_pooler_the_first_token_is_raw_and_with_one_it_is_bounded():
    inputs = tiny.inputs()
    (student, given), (teacher, taught) = map(small.built, (small.config(), small.teacher()))

    raw, pooled = student.apply(given, inputs), teacher.apply(taught, inputs)

    np.testing.assert_array_equal(raw["first_token"], raw["hidden"][:, 0])
    assert np.abs(pooled["first_token"]).max() < 1
    assert "pooler" not in given


def test_dropout_falls_only_with_keys():
    net, params = small.built(small.teacher())
    inputs, given = tiny.inputs(), [None, None, tiny.keys(1), tiny.keys(2)]

    plain, again, one, other = (net.apply(params, inputs, keys)["hidden"] for keys in given)

    assert np.array_equal(plain, again)
    assert not np.allclose(plain, one, atol=1e-2)
    assert not np.allclose(one, other, atol=1e-2)


@pytest.mark.parametrize("form, stream", [("student", "float32"), ("teacher", "bfloat16")])
def test_bfloat16_stays_close_to_float32(form, stream):
    inputs = tiny.inputs()
    wide, params = small.built(small.form(form))
    narrow = network(small.form(form, dtype="bfloat16"))

    left, right = wide.apply(params, inputs), jax.jit(narrow.apply)(params, inputs)

    assert right["hidden"].dtype == right["layers"].dtype == stream
    assert right["mlm_logits"].dtype == right["nsp_logits"].dtype == jnp.float32
    # bfloat16 has eight bits, and three blocks add up what they lose.
    scale = np.abs(left["mlm_logits"]).max()
    np.testing.assert_allclose(left["mlm_logits"], right["mlm_logits"], atol=0.03 * scale)


@pytest.mark.slow  # compiles four backward passes
@pytest.mark.parametrize("remat", ["dots", "full"])
def test_recomputing_changes_nothing(remat):
    (_, params), keys, inputs = small.built(small.config()), tiny.keys(5), tiny.inputs()

    def gradients(remat):
        net = network(small.config(remat=remat))
        return jax.jit(jax.grad(lambda params: loss(net, params, inputs, keys)))(params)

    kept, again = gradients("none"), gradients(remat)

    # Another fusion of the same float32 operations. Gradients of key biases are sums that
    # cancel to zero, so the tolerance of a leaf is relative to the largest gradient of all.
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(kept))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * largest),
        kept,
        again,
    )


def test_the_untied_table_starts_like_the_others():
    config = small.config(vocab_size=5000, width=64)
    hidden, words = jnp.zeros((1, 1, 64)), jnp.zeros((5000, 8))

    head = MaskedHead(config).init(jax.random.key(0), hidden, words)["params"]

    extra = head["extra"].unbox()
    assert extra.shape == (5000, 56)
    # Cut at two deviations and not rescaled, 0.8796 of sigma; 280,000 draws resolve 0.2 %.
    assert extra.std() == pytest.approx(0.8796 * config.init_scale, rel=0.005)


def test_relu6_is_bounded():
    six = layers.activation(small.config(activation="relu6"))

    np.testing.assert_array_equal(six(jnp.array([-1.0, 3.0, 9.0])), [0, 3, 6])


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"num_heads": 5}, "num_heads 5 does not divide body_width 16"),
        ({"ffn_share": 3}, "ffn_share 3 does not divide ffn_width 32"),
        ({"table_width": 24}, "table_width is 24; expected less than width"),
        (
            {"attention_input": "wide"},
            "'wide'; expected one of shared, bottleneck, input",
        ),
        ({"norm": "rms"}, "norm is 'rms'; expected one of layer, none, folded"),
        ({"num_ffns": 0}, "num_ffns is 0; expected a whole number of at least 1"),
    ],
)
def test_a_wrong_field_is_named(overrides, words):
    with pytest.raises(errors.InputError, match=words):
        network(small.config(**overrides))
