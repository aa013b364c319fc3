"""Tests that hold for every operator, with any optimizer, precision and mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pairwise
import pytest
import small

from bertgrow.core import errors, tree, types
from bertgrow.growth import certificate, named_tree, registry, train_state
from bertgrow.growth.operators import masked
from bertgrow.train import optimizers, sharding

# Fields of the smaller and of the larger model, for each registered operator. Length is not
# a field of the model: it is what the operator `lengthen` compares.
PRE = dict(norm_order="pre")
WIDER = dict(width=48, num_heads=6)  # one and a half times
CASES = {
    ("width", "equal"): [({}, dict(ffn_width=128)), ({}, dict(width=64, num_heads=8))],
    ("width", "uneven"): [({}, dict(ffn_width=96)), ({}, dict(width=64, num_heads=8))],
    ("width", "fpi"): [({}, dict(width=64, num_heads=8, ffn_width=128))],
    ("width", "sparkling"): [({}, dict(width=64, num_heads=8, ffn_width=128))],
    ("width", "net2net"): [({}, dict(width=64, num_heads=8, ffn_width=96)), ({}, WIDER)],
    ("width", "aki"): [({}, dict(width=64, num_heads=8)), ({}, dict(ffn_width=96))],
    ("width", "hyperclone"): [({}, dict(width=96, num_heads=12)), ({}, dict(ffn_width=128))],
    ("width", "lemon"): [
        ({}, dict(width=64, num_heads=8, ffn_width=96)),
        ({}, WIDER),
        (PRE, PRE | WIDER),
    ],
    ("width", "merge"): [(dict(ffn_rank=6), {}), (PRE | dict(ffn_rank=6), PRE)],
    ("width", "unshare"): [
        (dict(light_every=2), {}),
        (dict(light_every=2, pool=2), dict(pool=2)),
    ],
    ("width", "msg"): [({}, dict(ffn_width=96))],
    ("depth", "msg"): [
        (dict(norm_order="pre"), dict(norm_order="pre", num_layers=3)),
    ],
    ("depth", "stack"): [({}, dict(num_layers=4)), (dict(num_layers=1), dict(num_layers=3))],
    ("depth", "interleave"): [({}, dict(num_layers=4))],
    ("depth", "mslt"): [({}, dict(num_layers=3)), ({}, dict(num_layers=4))],
    ("depth", "random"): [({}, dict(num_layers=4))],
    ("depth", "gradual"): [({}, dict(num_layers=3))],
    ("depth", "midas"): [({}, dict(num_layers=3))],
    ("depth", "identity"): [(PRE, PRE | dict(num_layers=4)), ({}, dict(num_layers=4))],
    ("length", "unpool"): [
        (dict(pool=2), {}),
        (dict(pool=2, pool_mode="max"), {}),
        (dict(pool=2, pool_mode="concat"), {}),
    ],
    ("length", "extend"): [(dict(max_length=16), dict(max_length=40))],
    ("length", "lengthen"): [(dict(length=16), dict(length=32))],
}
ALL = [(*names, *case) for names, cases in CASES.items() for case in cases]
every_operator = pytest.mark.parametrize("dimension, name, fewer, more", ALL)


def test_every_registered_operator_is_held_to_the_contract():
    registered = {(d, name) for d, names in registry.OPERATORS.items() for name in names}

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
    make = registry.OPERATORS[dimension][name]
    growth = make(table(fewer), table(more), lambda: small.trained(new, 7))
    return growth, old, new


OPTIMIZERS = {
    "adamw": lambda axes: optimizers.make(optimizers.AdamW(), axes, lambda step: 1e-3),
    "lamb": lambda axes: optimizers.make(optimizers.Lamb(), axes, lambda step: 1e-3),
    "lion": lambda axes: optax.lion(1e-3),
}
MESHES = {
    "one device": (dict(), slice(1)),
    "eight devices": (dict(data=2, fsdp=2, tensor=2), slice(8)),
}
COVER = list(
    pairwise.cover(
        operator=CASES, optimizer=OPTIMIZERS, dtype=["float32", "bfloat16"], mesh=MESHES
    )
)
for names, cases in CASES.items():  # each pair of sizes in turn
    rows = [case for case in COVER if case["operator"] == names]
    for number, case in enumerate(rows):
        case["sizes"] = cases[number % len(cases)]
# Growth itself is exact; a share of 3/4 rounds in bfloat16, whose eps is 2^-8.
EXACT = {"float32": certificate.TOLERANCE / 10, "bfloat16": 2**-7}
VISIBLE = {"float32": 10 * certificate.TOLERANCE, "bfloat16": 3 * 2**-7}


def label(case):
    (_, name), *rest, _ = case.values()
    return "-".join([name, *rest])


@pytest.mark.parametrize("case", COVER, ids=label)
def test_a_grown_state_is_the_new_model_s_and_keeps_the_claim(case):
    """Shapes, types, axes, shardings, moments, no second trace, and the claim both ways."""
    growth, old, new = bind(*case["operator"], *case["sizes"])
    optimizer, dtype = OPTIMIZERS[case["optimizer"]](old.axes), case["dtype"]
    spec, devices = MESHES[case["mesh"]]
    mesh = sharding.make_mesh(spec, jax.devices()[devices])
    before, after = (
        sharding.state_shardings(task(net, dtype), optimizer, mesh) for net in (old, new)
    )
    traces, axes = [], []

    def grow(whole):
        traces.append(1)
        axes.append(growth.weights(whole.params, old.axes)[1])
        return train_state.grow_state(
            whole, (growth,), old.axes, optimizer_init=optimizer.init,
            moments=growth.needs or "copy",
        )  # fmt: skip

    compiled = jax.jit(grow, in_shardings=(before,), out_shardings=after)
    whole = a_state(old, optimizer, dtype)
    grown = compiled(jax.device_put(whole, before))
    compiled(jax.device_put(a_state(old, optimizer, dtype, seed=1), before))

    assert len(traces) == 1
    assert axes[0] == new.axes
    fresh = jax.eval_shape(optimizer.init, jax.eval_shape(task(new, dtype).init, None))
    assert shapes(grown.opt_state) == shapes(fresh)
    assert shapes(grown.params) == shapes(jax.eval_shape(task(new, dtype).init, None))
    moments, expected = (optax.tree.get(s.opt_state, "mu") for s in (grown, whole))
    expected = taken(expected, old.axes, growth)
    jax.tree.map(np.testing.assert_array_equal, moments, expected)
    hold_the_claim(case, growth, (old, new), (whole.params, grown.params))


def hold_the_claim(case, growth, networks, params):
    inputs, (_, more) = small.batch(), case["sizes"]
    padding = ((0, 0), (0, split(more)[0] - 16))
    longer = {k: np.pad(inputs[k], padding) for k in ("tokens", "types")}
    on_host = [jax.tree.map(lambda x: np.asarray(x, np.float32), tree) for tree in params]
    on_host[1] = masked.hide(on_host[1], networks[1].axes, growth.masks, 0.0)

    before = small.logits(networks[0], on_host[0], inputs)
    after = small.logits(networks[1], on_host[1], {**inputs, **longer})

    change = np.abs(after - before).max() / np.abs(before).max()
    if growth.claim == "exact":
        assert change < EXACT[case["dtype"]]
    else:
        assert growth.claim == "no"
        assert change > VISIBLE[case["dtype"]]


def task(net, dtype):
    """A Task whose weights start in `dtype`."""

    def init(key):
        return jax.tree.map(lambda leaf: leaf.astype(dtype), net.init(jax.random.key(0)))

    return types.Task(init, None, None, None, net.axes)


def a_state(net, optimizer, dtype, seed=0):
    """Weights and moments away from where they start; nothing is equal to anything else."""
    params = small.trained(net, seed, dtype=jnp.dtype(dtype))
    opt_state = jax.tree.map(
        lambda leaf: (1 + np.arange(leaf.size) % 97).reshape(leaf.shape).astype(leaf.dtype),
        jax.eval_shape(optimizer.init, params),
    )
    return types.TrainState(jnp.int32(3), params, opt_state, jax.random.key(1))


def taken(moments, axes, growth):
    """Each unit from its source, written in NumPy; zero where the operator has to start."""
    kept = small.grown_axes(growth.copies, moments, axes)
    layers = dict(moments["layers"])
    if growth.name == "merge":  # the products have had no moments
        for name in ("up", "down"):
            first, second = layers.pop(f"{name}_rank")["kernel"], layers[name]["kernel"]
            whole = np.zeros((*first.shape[:-1], second.shape[-1]), second.dtype)
            layers[name] = {**layers[name], "kernel": whole}
    if growth.name == "unshare":  # the second layer matches as the first
        for name in ("query", "key"):
            layers[name] = jax.tree.map(lambda leaf: leaf[np.array([0, 0])], layers[name])
    moments = {**moments, "layers": layers}

    def at_leaf(names, leaf):
        for dim, name in enumerate(names):
            index = growth.sources.get(tree.base(name))
            if index is not None:
                zero = index < 0 if growth.needs == "" else named_tree.is_new(index)
                leaf = np.where(
                    np.expand_dims(zero, [d for d in range(leaf.ndim) if d != dim]),
                    np.zeros((), leaf.dtype), np.take(leaf, index, axis=dim),
                )  # fmt: skip
        return from_above(leaf, names, growth) if growth.name == "aki" else leaf

    moments = {name: moments[name] for name in kept}
    return jax.tree.map(at_leaf, kept, moments, is_leaf=tree.is_spec)


def from_above(leaf, names, growth):
    """New output units of the first layer are those of the second."""
    for dim, name in enumerate(names):
        if "layers" in names and name in growth.sources:
            is_new = named_tree.is_new(growth.sources[name])
            is_new = np.expand_dims(is_new, [d for d in range(leaf.ndim) if d != dim])
            leaf = np.where(is_new, leaf[[1, 1]], leaf)
    return leaf


def shapes(params):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params)


def test_every_pair_of_choices_meets():
    assert len(COVER) <= 80
    assert {(c["optimizer"], c["mesh"]) for c in COVER} == {
        (o, m) for o in OPTIMIZERS for m in MESHES
    }
    assert {(c["operator"], c["optimizer"]) for c in COVER} == {
        (names, o) for names in CASES for o in OPTIMIZERS
    }
    assert {str(c["sizes"]) for c in COVER} == {
        str(case) for cases in CASES.values() for case in cases
    }


@every_operator
def test_equal_sizes_are_left_alone(dimension, name, fewer, more):
    growth, old, _ = bind(dimension, name, fewer, fewer)
    params = small.trained(old)

    assert growth.claim == "exact"
    assert growth.changes == {}
    for grow in (growth.weights, growth.gradients, growth.copies):
        grown, axes = grow(params, old.axes)
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
def test_every_operator_says_what_it_changes_and_where_it_is_from(dimension, name, fewer, more):
    growth, _, _ = bind(dimension, name, fewer, more)
    old, new = table(fewer), table(more)

    assert (growth.name, growth.dimension) == (name, dimension)
    assert small.sizes_after(growth, old) == new
    assert "(" in growth.source and "20" in growth.source
    for axis, (before, after) in growth.changes.items():
        assert f"{axis} {before} -> {after}" in growth.describe
