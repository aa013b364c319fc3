"""One contract for every operator: shapes, types, axes, claim, identity, strictness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from bertgrow import errors
from bertgrow.growth import between, certificate

# Fields of the smaller and of the larger model, for each registered operator. Length is not
# a field of the model: it is what the operator `lengthen` compares.
CASES = {
    ("width", "equal"): [({}, dict(ffn_width=128)), ({}, dict(width=64, num_heads=8))],
    ("width", "uneven"): [({}, dict(ffn_width=96)), ({}, dict(width=64, num_heads=8))],
    ("width", "fpi"): [({}, dict(width=64, num_heads=8, ffn_width=128))],
    ("width", "sparkling"): [({}, dict(width=64, num_heads=8, ffn_width=128))],
    ("depth", "stack"): [({}, dict(num_layers=4)), (dict(num_layers=1), dict(num_layers=3))],
    ("depth", "interleave"): [({}, dict(num_layers=4))],
    ("depth", "random"): [({}, dict(num_layers=4))],
    ("length", "unpool"): [
        (dict(pool=2), {}),
        (dict(pool=2, pool_mode="max"), {}),
        (dict(pool=2, pool_mode="concat"), {}),
    ],
    ("length", "lengthen"): [(dict(length=16), dict(length=32))],
}
ALL = [(*names, *case) for names, cases in CASES.items() for case in cases]
every_operator = pytest.mark.parametrize("dimension, name, fewer, more", ALL)


def test_every_registered_operator_is_held_to_the_contract():
    registered = {(d, name) for d, names in between.OPERATORS.items() for name in names}

    assert registered == CASES.keys()


def split(fields):
    """The length, and the fields of the model."""
    return fields.get("length", 16), {k: v for k, v in fields.items() if k != "length"}


def table(fields):
    length, fields = split(fields)
    return {**small.sizes(**fields), "length": length}


def bind(dimension, name, fewer, more):
    """The operator bound to two models, and the models."""
    old, new = (small.network(**split(fields)[1]) for fields in (fewer, more))
    make = between.operator(dimension, name)
    growth = make(table(fewer), table(more), lambda: small.trained(new, 7))
    return growth, old, new


def shapes(params):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params)


@every_operator
def test_growth_gives_the_tree_of_the_new_model(dimension, name, fewer, more):
    growth, old, new = bind(dimension, name, fewer, more)
    params = small.trained(old)

    for grow in (growth.weights, growth.gradients, growth.copies):
        if grow is not None:
            grown = jax.eval_shape(lambda params, grow=grow: grow(params, old.axes)[0], params)
            assert shapes(grown) == shapes(jax.eval_shape(new.init, jax.random.key(0)))
            assert small.grown_axes(grow, params, old.axes) == new.axes


@every_operator
def test_types_of_the_leaves_are_kept(dimension, name, fewer, more):
    growth, old, _ = bind(dimension, name, fewer, more)
    params = small.trained(old, dtype=jnp.bfloat16)

    grown = jax.eval_shape(lambda params: growth.weights(params, old.axes)[0], params)

    assert {leaf.dtype for leaf in jax.tree.leaves(grown)} == {jnp.dtype("bfloat16")}


@every_operator
def test_the_claim_holds_in_both_directions(dimension, name, fewer, more):
    growth, old, new = bind(dimension, name, fewer, more)
    params = small.trained(old)
    inputs = small.batch()
    padding = ((0, 0), (0, split(more)[0] - 16))
    longer = {k: np.pad(inputs[k], padding) for k in ("tokens", "types")}

    grown, _ = small.grow(growth.weights, params, old.axes)
    before = small.logits(old, params, inputs)
    after = small.logits(new, grown, {**inputs, **longer})

    change = np.abs(after - before).max() / np.abs(before).max()
    if growth.claim == "exact":
        assert change < certificate.TOLERANCE / 10  # its reasons count 24 layers, here are 2
    else:
        assert growth.claim == "no"
        assert change > 100 * certificate.TOLERANCE


@every_operator
def test_equal_sizes_are_left_alone(dimension, name, fewer, more):
    growth, old, _ = bind(dimension, name, fewer, fewer)
    params = small.trained(old)

    assert growth.claim == "exact"
    assert growth.changes == {}
    for grow in (growth.weights, growth.gradients, growth.copies):
        grown, axes = small.grow(grow, params, old.axes)
        assert axes == old.axes
        jax.tree.map(np.testing.assert_array_equal, grown, params)


@every_operator
def test_a_leaf_that_growth_does_not_know_raises_with_its_path(dimension, name, fewer, more):
    growth, old, _ = bind(dimension, name, fewer, more)
    params = small.trained(old)
    stray = {**params["layers"], "gate": jnp.ones((2, 32))}
    named = {**old.axes["layers"], "gate": jax.P("layers", "colour")}
    short = {**old.axes["layers"], "gate": jax.P("layers")}

    for layers, names in [
        (stray, old.axes["layers"]),
        (stray, named),
        (stray, short),
        (params["layers"], named),
    ]:
        with pytest.raises(errors.InputError, match="layers/gate"):
            growth.weights({**params, "layers": layers}, {**old.axes, "layers": names})


@every_operator
def test_the_second_call_compiles_nothing(dimension, name, fewer, more):
    growth, old, _ = bind(dimension, name, fewer, more)
    traces = []

    @jax.jit
    def grow(params):
        traces.append(1)
        return growth.weights(params, old.axes)[0]

    grow(small.trained(old, 0))
    grow(small.trained(old, 1))

    assert len(traces) == 1


@every_operator
def test_every_operator_says_what_it_changes_and_where_it_is_from(dimension, name, fewer, more):
    growth, _, _ = bind(dimension, name, fewer, more)
    old, new = table(fewer), table(more)

    assert (growth.name, growth.dimension) == (name, dimension)
    assert between.sizes_after(growth, old) == new
    assert "(" in growth.source and "20" in growth.source
    for axis, (before, after) in growth.changes.items():
        assert f"{axis} {before} -> {after}" in growth.describe
