"""Tests of width growth: the right shapes change and outputs stay equal."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
import tiny
from hypothesis import strategies as st

from bertgrow.core import errors, tree
from bertgrow.growth import registry
from bertgrow.growth.operators import copies

WIDER = [  # sizes of the wider model; the old one has mlp 64, heads 4, embed 32
    {"mlp": 128},
    {"mlp": 96},  # half of the units get a second copy
    {"mlp": 65},
    {"heads": 8},
    {"heads": 6},
    {"embed": 96},
    {"embed": 64, "heads": 8, "mlp": 128},
    {"embed": 64, "heads": 5, "mlp": 200},
]


@pytest.mark.slow
@hypothesis.settings(max_examples=6, deadline=None)
@hypothesis.given(
    st.sampled_from(WIDER),
    st.sampled_from(["equal", "uneven", "net2net", "lemon"]),
    st.integers(0, 9),
)
def test_widening_preserves_the_function(wider, rule, seed):
    net, old = small.network(), small.sizes()
    params = tiny.params(net, seed, dtype=np.float64)
    (growth,) = registry.between(old, {**old, **wider}, width=rule)

    with jax.enable_x64(True):
        grown, axes = small.grow(growth.weights, params, net.axes)
        before = small.measure(small.plain, params, small.batch())[0]
        after = small.measure(small.plain, grown, small.batch())[0]

    assert tree.sizes(grown, axes).items() >= wider.items()
    # Float64, so that only a wrong fraction can exceed it; logits are of order 1 to 10.
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-11)


def test_the_plain_model_is_the_real_one():
    net = small.network()
    params, inputs = tiny.params(net), small.batch()

    plain = small.measure(small.plain, params, inputs)[0]

    # Two programs, float32: a few eps of logits of order 10.
    np.testing.assert_allclose(plain, small.logits(net, params, inputs), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "wider, rule",
    [
        ({"mlp": 96, "heads": 6}, "uneven"),
        pytest.param({"embed": 64, "mlp": 96}, "net2net", marks=pytest.mark.slow),
        pytest.param({"embed": 64, "heads": 8, "mlp": 128}, "equal", marks=pytest.mark.slow),
    ],
)
def test_gradients_of_the_wider_model_are_the_dual_of_the_old_gradients(wider, rule):
    net, old = small.network(), small.sizes()
    (growth,) = registry.between(old, {**old, **wider}, width=rule)

    with jax.enable_x64(True):
        params = tiny.params(net, dtype=np.float64)
        grown, _ = small.grow(growth.weights, params, net.axes)
        actual_tree = small.gradients(small.plain, grown, small.batch())
        before = small.gradients(small.plain, params, small.batch())
        dual, _ = small.grow(growth.gradients, before, net.axes)

    for path, expected in small.paths(dual).items():
        actual = small.paths(actual_tree)[path]
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12, err_msg=path)


@pytest.mark.slow
def test_uneven_fractions_of_the_residual_stream_have_no_dual():
    """LayerNorm averages copies with equal weight in the backward pass."""
    net, old = small.network(), small.sizes()
    new = {**old, "embed": 64, "heads": 8, "mlp": 128}
    equal, uneven = (registry.between(old, new, width=r)[0] for r in ("equal", "uneven"))

    with jax.enable_x64(True):
        params = tiny.params(net, dtype=np.float64)
        grown, _ = small.grow(uneven.weights, params, net.axes)
        gradients = small.gradients(small.plain, grown, small.batch())["embeddings"]

    positions = np.asarray(gradients["positions"])[1:8].reshape(7, 32, 2)
    ratio = positions[..., 0] / positions[..., 1]
    assert uneven.gradients is None
    assert equal.gradients is not None
    assert ratio.std() > 0.1  # with a dual every ratio would be 1/4 : 3/4


@pytest.mark.slow
def test_tiling_gives_each_copy_its_fraction_of_the_gradient():
    """The ratios 1/k and 1 of CompoundGrow's tiling, here k = 2."""
    net, old = small.network(), small.sizes()
    (growth,) = registry.between(old, {**old, "mlp": 128}, width="equal")

    with jax.enable_x64(True):
        params = tiny.params(net, dtype=np.float64)
        grown, _ = small.grow(growth.weights, params, net.axes)
        before = small.gradients(small.plain, params, small.batch())["layers"]
        after = small.gradients(small.plain, grown, small.batch())["layers"]

    up_before, down_before = (np.asarray(before[name]["kernel"]) for name in ("up", "down"))
    up = np.asarray(after["up"]["kernel"]).reshape(2, 32, 64, 2)
    down = np.asarray(after["down"]["kernel"]).reshape(2, 64, 2, 32)
    for copy in range(2):
        np.testing.assert_allclose(up[..., copy], up_before / 2, atol=1e-12)
        np.testing.assert_allclose(down[:, :, copy], down_before, atol=1e-12)


@pytest.mark.parametrize(
    "index, rule, expected",
    [
        ([0, 0, 1, 1], "equal", [1 / 2, 1 / 2, 1 / 2, 1 / 2]),
        ([0, 0, 1, 1], "uneven", [1 / 4, 3 / 4, 1 / 4, 3 / 4]),
        ([0, 0, 0], "uneven", [1 / 9, 3 / 9, 5 / 9]),
        ([0, 0, 1], "uneven", [1 / 4, 3 / 4, 1]),
        ([0, 0, 1], "equal", [1 / 2, 1 / 2, 1]),
        ([0, 1, 0, 1], "lemon", [1 / 4, 1 / 4, 3 / 4, 3 / 4]),
        ([0, 1, -1, -1], "lemon", [1, 1, 1, 1]),
    ],
)
def test_fractions_are_those_of_the_rule(index, rule, expected):
    np.testing.assert_allclose(copies.fractions(rule, np.array(index)), expected)


@pytest.mark.parametrize(
    "rule, axis, old, new, expected",
    [
        ("uneven", "mlp", 3, 4, [0, 0, 1, 2]),
        ("fpi", "embed", 2, 4, [0, 1, 0, 1]),
        ("lemon", "mlp", 2, 5, [0, 1, 0, 1, 0]),
        ("lemon", "embed", 2, 5, [0, 1, 0, 1, -1]),
    ],
)
def test_sources_follow_the_order_of_the_rule(rule, axis, old, new, expected):
    assert copies.sources(rule, axis, old, new).tolist() == expected


def test_units_are_drawn_in_rounds_and_reproducibly():
    index = copies.sources("net2net", "mlp", 6, 15)

    repeated = copies.sources("net2net", "mlp", 6, 15)

    assert index.tolist() == repeated.tolist()
    assert index[:6].tolist() == [0, 1, 2, 3, 4, 5]
    assert sorted(index[6:12]) == [0, 1, 2, 3, 4, 5] != index[6:12].tolist()
    assert len(set(index[12:])) == 3


def test_fpi_differs_from_equal_only_in_the_order_of_units():
    old = {**small.sizes(), "length": 16}
    new = {**old, "embed": 64, "heads": 8, "mlp": 128}
    net, params = small.network(), tiny.params(small.network())
    equal, fpi = (registry.between(old, new, width=rule)[0] for rule in ("equal", "fpi"))

    tiled, axes = small.grow(fpi.weights, params, net.axes)
    expected, _ = small.grow(equal.weights, params, net.axes)

    def reorder(leaf, names):
        for dim, name in enumerate(names):
            if tree.base(name) in fpi.sources:
                order = np.argsort(fpi.sources[tree.base(name)], kind="stable")
                leaf = jnp.take(leaf, order, axis=dim)
        return leaf

    assert fpi.sources["heads"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    jax.tree.map(np.testing.assert_array_equal, tree.map_named(reorder, tiled, axes), expected)
    np.testing.assert_array_equal(  # old units keep their positions
        tiled["layers"]["up"]["bias"][:, :64], params["layers"]["up"]["bias"]
    )


@pytest.mark.parametrize("rule", ["fpi", "sparkling"])
def test_rules_for_whole_ratios_refuse_others(rule):
    old = small.sizes()

    with pytest.raises(errors.InputError, match="set ffn_width to a multiple of 64"):
        registry.between(old, {**old, "mlp": 96}, width=rule)


def test_sparkling_keeps_the_rms_of_activations():
    """Of the FFN and of the residual stream; random new units would change both."""
    net, old = small.network(), small.sizes()
    new = {**old, "embed": 64, "heads": 8, "mlp": 128}
    (growth,) = registry.between(old, new, width="sparkling")
    params = tiny.params(net)

    grown, _ = small.grow(growth.weights, params, net.axes)

    def rms(params):
        words = params["embeddings"]["words"][5:25]
        up = jax.tree.map(lambda leaf: leaf[0], params["layers"]["up"])
        inner = jax.nn.gelu(words @ up["kernel"] + up["bias"][None])
        return [np.sqrt(np.square(x).mean(axis=-1)) for x in (words, inner)]

    for before, after in zip(rms(params), rms(grown), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5)  # a sum in another order


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(st.integers(1, 40), st.integers(0, 100), st.sampled_from([*copies.RULES]))
def test_fractions_of_every_unit_sum_to_one(old, more, rule):
    index = copies.sources(rule, "mlp", old, old + more)

    fractions = copies.fractions(rule, index)

    np.testing.assert_allclose(np.bincount(index, fractions, minlength=old), 1, rtol=1e-12)
    if copies.RULES[rule].split == "uneven":
        for unit in set(index):
            assert np.all(np.diff(fractions[index == unit]) > 0)


def test_units_are_taken_by_their_index_at_every_ratio():
    leaf = jnp.arange(6).reshape(2, 3)

    def take(dim, *index):
        return copies.take(leaf, dim, np.array(index)).tolist()

    assert take(1, 0, 0, 1, 1, 2, 2) == [[0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5]]
    assert take(1, 0, 1, 2, 0, 1, 2) == [[0, 1, 2, 0, 1, 2], [3, 4, 5, 3, 4, 5]]
    assert take(1, 0, 0, 1, 2) == [[0, 0, 1, 2], [3, 3, 4, 5]]
    assert take(0, 0, 0, 1, 1) == [[0, 1, 2]] * 2 + [[3, 4, 5]] * 2
