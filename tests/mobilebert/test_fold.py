"""A folded student is the same function with fewer operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_mobilebert as small
import tiny

from bertgrow import errors, tree
from bertgrow.nn import layers
from mobilebert import fold, nn, nn_embeddings, presets
from mobilebert.config import MobileBertConfig

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


def assert_close(found, expected):
    """Within 1e-5 of the largest value: a sum of float32 terms in another order."""
    for name in ("hidden", "layers", "mlm_logits", "nsp_logits"):
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(found[name] / scale, expected[name] / scale, atol=1e-5)


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

    fresh = jax.eval_shape(nn.network(folded).init, jax.random.key(0))
    assert jax.tree.map(jnp.shape, changed) == jax.tree.map(jnp.shape, fresh)
    norms = [name for name in changed["layers"] if name.endswith("_norm")]
    assert norms == ["expand_norm"]
    assert changed["layers"]["expand_norm"].keys() == {"scale"}
    assert "norm" not in changed["embeddings"]


@pytest.mark.parametrize("form", WIRINGS)
def test_the_table_counts_the_operations_that_are_gone(form):
    """Two of a NoNorm's gain and shift for each channel, less what folding keeps."""
    config = small.form(form)
    params = small.built(config)[1]

    rows = fold.removed(config)

    changed, _ = fold.fold(params, config)
    gone = tree.count(params) - tree.count(changed)  # one number, one operation a token
    assert rows[-1]["operations"] == gone
    assert sum(row["operations"] for row in rows[:-1]) == gone


def test_the_released_student_is_spared_seven_of_eight_norms_whole():
    rows = fold.removed(MobileBertConfig(**presets.mobilebert()))

    whole = [row for row in rows[:-1] if row["kept"] == "nothing" and row["per_block"]]
    assert rows[-1]["per_block"] == 8
    assert sum(row["per_block"] for row in whole) == 7
    assert rows[-1]["operations"] == 24 * (7 * 2 * 128 + 512) + 2 * 512


def test_norms_that_depend_on_the_input_are_refused():
    config = small.form("without_opt")

    with pytest.raises(errors.InputError, match="norm is 'layer'; expected 'none'"):
        fold.fold({}, config)


def test_a_gain_of_zero_is_refused_with_its_place():
    config = small.form("student")
    params = small.trained(nn.network(config))
    params["layers"]["mlp_norm"]["scale"][1, 0, 5] = 0

    with pytest.raises(
        errors.InputError, match="mlp_norm multiply to 0.0 in layer 1, channel 5"
    ):
        fold.fold(params, config)


def test_a_gain_of_zero_that_nothing_divides_by_is_folded():
    config = small.form("student")
    net, start = small.built(config)
    params = jax.tree.map(np.copy, start)
    for name in ("bottleneck_norm", "shared_norm", "attention_norm", "expand_norm"):
        params["layers"][name]["scale"][..., 3] = 0

    changed, folded = fold.fold(params, config)

    assert_close(small.built(folded)[0].apply(changed, INPUTS), net.apply(params, INPUTS))


def test_neighbour_tables_equal_the_trigram_projection():
    params = small.trained(nn.network(small.config()))["embeddings"]
    tokens = INPUTS["tokens"]

    found = fold.look_up(fold.neighbour_tables(params), tokens)

    words = nn_embeddings.trigrams(jnp.asarray(params["words"])[tokens])
    expected = (
        layers.dense(params["trigram"], words, dims=2) - params["trigram"]["bias"][None, None]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_neighbour_tables_do_not_pay_at_the_released_size():
    """A hundredth of the work for eleven times the storage of words and projection."""
    price = fold.price_of_tables(MobileBertConfig(**presets.mobilebert()))

    assert price == {"operations": 393_216, "bytes": 171_113_472}
