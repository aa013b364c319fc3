"""Tests of the growth of a state by every operator, with any optimizer, precision and mesh."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
import tiny
from operator_cases import CASES, bind, split

from bertgrow.core import tree, types
from bertgrow.growth import certificate, named_tree, train_state
from bertgrow.growth.operators import masked
from bertgrow.train import optimizers, sharding

OPTIMIZERS = {
    "adamw": lambda axes: optimizers.make(optimizers.AdamW(), axes, lambda step: 1e-3),
    "lamb": lambda axes: optimizers.make(optimizers.Lamb(), axes, lambda step: 1e-3),
    "lion": lambda axes: optax.lion(1e-3),
}
MESHES = {
    "one device": (dict(), slice(1)),
    "four devices": (dict(fsdp=2, tensor=2), slice(4)),
}


def combinations():
    """Every operator with all its sizes, both dtypes and both meshes; optimisers in turn.

    Two compiled cases per operator, or one per pair of sizes if it has more.
    """
    optimizer_names = itertools.cycle(OPTIMIZERS)
    one, four = MESHES
    for number, (operator, cases) in enumerate(CASES.items()):
        meshes = (one, four) if number % 2 else (four, one)
        for index in range(max(2, len(cases))):
            yield dict(
                operator=operator,
                optimizer=next(optimizer_names),
                dtype=("float32", "bfloat16")[index % 2],
                mesh=meshes[index % 2],
                sizes=cases[index % len(cases)],
            )


COVER = list(combinations())
FIRST = {case["operator"]: number for number, case in reversed(list(enumerate(COVER)))}
# Growth itself is exact; a fraction of 3/4 rounds in bfloat16, whose eps is 2^-8.
EXACT = {"float32": certificate.TOLERANCE / 10, "bfloat16": 2**-7}
VISIBLE = {"float32": 10 * certificate.TOLERANCE, "bfloat16": 3 * 2**-7}


def label(case):
    (_, name), *options, _ = case.values()
    return "-".join([name, *options])


def marked():
    """One case of each operator is fast, in turns on one device and on four."""
    for number, case in enumerate(COVER):
        is_first = number == FIRST[case["operator"]]
        yield pytest.param(case, id=label(case), marks=[] if is_first else pytest.mark.slow)


@pytest.mark.parametrize("case", list(marked()))
def test_a_grown_state_fits_the_new_model_and_keeps_the_claim(case):
    """Shapes, types, axes, shardings, moments, no second trace, and the claim both ways."""
    growth, old, new = bind(*case["operator"], *case["sizes"])
    optimizer, dtype = OPTIMIZERS[case["optimizer"]](old.axes), case["dtype"]
    spec, devices = MESHES[case["mesh"]]
    mesh = sharding.make_mesh(spec, jax.devices()[devices])
    before, after = (
        sharding.state_shardings(task(net, dtype), optimizer, mesh) for net in (old, new)
    )
    traces, axes = [], []

    def grow(state):
        traces.append(1)
        axes.append(growth.weights(state.params, old.axes)[1])
        return train_state.grow_state(
            state, (growth,), old.axes, optimizer_init=optimizer.init,
            moments=growth.needs or "copy",
        )  # fmt: skip

    compiled = jax.jit(grow, in_shardings=(before,), out_shardings=after)
    state = a_state(old, optimizer, dtype)
    grown = compiled(jax.device_put(state, before))
    compiled(jax.device_put(a_state(old, optimizer, dtype, seed=1), before))

    assert len(traces) == 1
    assert axes[0] == new.axes
    params = jax.eval_shape(task(new, dtype).init, None)
    assert shapes(grown.opt_state) == shapes(jax.eval_shape(optimizer.init, params))
    assert shapes(grown.params) == shapes(params)
    moments, expected = (optax.tree.get(each.opt_state, "mu") for each in (grown, state))
    expected = copied(expected, old.axes, growth)
    jax.tree.map(np.testing.assert_array_equal, moments, expected)
    hold_the_claim(case, growth, (old, new), (state.params, grown.params))


def hold_the_claim(case, growth, networks, params):
    inputs, (_, more) = small.batch(), case["sizes"]
    padding = ((0, 0), (0, split(more)[0] - 16))
    longer = {k: np.pad(inputs[k], padding) for k in ("tokens", "types")}
    on_host = [jax.tree.map(lambda x: np.asarray(x, np.float32), tree) for tree in params]
    on_host[1] = masked.mask_params(on_host[1], networks[1].axes, growth.masks, 0.0)

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
    params = tiny.params(net, seed, dtype=jnp.dtype(dtype))
    opt_state = jax.tree.map(
        lambda leaf: (1 + np.arange(leaf.size) % 97).reshape(leaf.shape).astype(leaf.dtype),
        jax.eval_shape(optimizer.init, params),
    )
    return types.TrainState(jnp.int32(3), params, opt_state, jax.random.key(1))


def copied(moments, axes, growth):
    """Moments of each unit from its source, in NumPy; zero for units that start at zero."""
    grown_axes = small.grown_axes(growth.copies, moments, axes)
    layers = dict(moments["layers"])
    if growth.name == "merge":  # the products had no moments
        for name in ("up", "down"):
            first, second = layers.pop(f"{name}_rank")["kernel"], layers[name]["kernel"]
            zeros = np.zeros((*first.shape[:-1], second.shape[-1]), second.dtype)
            layers[name] = {**layers[name], "kernel": zeros}
    if growth.name == "unshare":  # the second layer gets the queries and keys of the first
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

    moments = {name: moments[name] for name in grown_axes}
    return jax.tree.map(at_leaf, grown_axes, moments, is_leaf=tree.is_spec)


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


def test_the_cases_cover_every_choice_for_every_operator():
    for key in ("dtype", "mesh"):
        pairs = {(case["operator"], case[key]) for case in COVER}
        assert len(pairs) == 2 * len(CASES)
    for keys in itertools.combinations(("optimizer", "dtype", "mesh"), 2):
        pairs = {tuple(case[key] for key in keys) for case in COVER}
        assert len(pairs) == (6 if "optimizer" in keys else 4)
    assert {str(case["sizes"]) for case in COVER} == {
        str(sizes) for cases in CASES.values() for sizes in cases
    }


@pytest.mark.parametrize("dimension, name", CASES)
def test_the_state_of_every_optimizer_fits_the_new_model(dimension, name):
    growth, old, new = bind(dimension, name, *CASES[dimension, name][0])

    for make in OPTIMIZERS.values():
        optimizer = make(old.axes)

        def grow(state, optimizer=optimizer):
            return train_state.grow_state(
                state, (growth,), old.axes, optimizer_init=optimizer.init,
                moments=growth.needs or "copy",
            )  # fmt: skip

        grown = jax.eval_shape(grow, a_state(old, optimizer, "float32"))

        expected = jax.eval_shape(optimizer.init, tiny.params(new))
        assert shapes(grown.opt_state) == shapes(expected)
