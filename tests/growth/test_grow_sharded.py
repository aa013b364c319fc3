"""Growth from shards to shards moves nothing between devices and frees what was."""

import functools

import jax
import numpy as np
import optax
import pytest
import small

from bertgrow import contracts, tree
from bertgrow.growth import between, state

OPTIMIZER = optax.adam(1e-3)
OLD = small.sizes()
NEW = {**OLD, "layers": 4, "mlp": 128, "embed": 64, "heads": 8}
RULES = {"embed": "fsdp", "mlp": "tensor", "heads": "tensor"}
COLLECTIVES = ("all-gather", "all-to-all", "collective-permute", "all-reduce")


@pytest.fixture(scope="module")
def mesh():
    names = ("data", "fsdp", "tensor")
    return jax.make_mesh((2, 2, 2), names, axis_types=(jax.sharding.AxisType.Auto,) * 3)


def place(mesh, params, axes):
    """The shardings of a state; each mesh axis at most once a leaf."""

    def at_leaf(leaf, names):
        used, spec = set(), []
        for axis in names:
            wanted = RULES.get(tree.base(axis))
            spec.append(None if wanted in used else wanted)
            used.add(wanted)
        return jax.sharding.NamedSharding(mesh, jax.P(*spec))

    leaves = tree.map_named(at_leaf, params, axes)
    whole = jax.sharding.NamedSharding(mesh, jax.P())
    opt_state = jax.eval_shape(OPTIMIZER.init, params)
    adam = opt_state[0]._replace(count=whole, mu=leaves, nu=leaves)
    return contracts.TrainState(whole, leaves, (adam, *opt_state[1:]), whole)


def problem(mesh, new, moments="copy"):
    """A sharded state, the growth bound to it, and where the grown state goes."""
    net = small.network()
    params = small.trained(net)
    whole = contracts.TrainState(np.int32(3), params, OPTIMIZER.init(params), jax.random.key(0))
    # Moments that differ from zero: those of the weights themselves.
    adam = whole.opt_state[0]._replace(mu=params, nu=jax.tree.map(np.square, params))
    whole = whole._replace(opt_state=(adam, *whole.opt_state[1:]))
    growths = between.between(OLD, new, width="equal")
    grow = functools.partial(
        state.grow_state,
        growths=growths,
        axes=net.axes,
        optimizer_init=OPTIMIZER.init,
        moments=moments,
    )
    shapes = jax.eval_shape(grow, whole)
    return whole, grow, place(mesh, shapes.params, net.axes)


def test_whole_ratios_move_nothing_between_devices(mesh):
    moments = {"width": "exact", "depth": "copy"}
    whole, grow, shardings = problem(mesh, NEW, moments)
    before = jax.device_put(whole, place(mesh, whole.params, small.network().axes))

    text = jax.jit(grow, out_shardings=shardings).lower(before).compile().as_text()

    assert [word for word in COLLECTIVES if word in text] == []


def test_other_ratios_have_to_move_units(mesh):
    """The check above sees a collective where there is one."""
    whole, grow, shardings = problem(mesh, {**OLD, "mlp": 96})
    before = jax.device_put(whole, place(mesh, whole.params, small.network().axes))

    text = jax.jit(grow, out_shardings=shardings).lower(before).compile().as_text()

    assert [word for word in COLLECTIVES if word in text] != []


@pytest.mark.parametrize("new", [NEW])
def test_shards_grow_as_one_device_does(mesh, new):
    whole, grow, shardings = problem(mesh, new)
    expected = jax.jit(grow)(whole)
    before = jax.device_put(whole, place(mesh, whole.params, small.network().axes))

    after, cost = state.grow_sharded(before, grow, shardings)

    jax.tree.map(
        np.testing.assert_array_equal,
        (after.params, after.opt_state, after.step),
        (expected.params, expected.opt_state, expected.step),
    )
    assert jax.tree.map(lambda leaf: leaf.sharding, after) == shardings
    assert cost["peak_source"] == "compiler"
    assert cost["seconds"] > 0
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(after.params))
    assert cost["peak_bytes"] >= 3 * held  # parameters and two moments


def test_the_old_leaves_are_freed_and_the_new_ones_live(mesh):
    """Also where a leaf passes through unchanged, as most do in a growth of `mlp`."""
    whole, grow, shardings = problem(mesh, {**OLD, "mlp": 128})
    before = jax.device_put(whole, place(mesh, whole.params, small.network().axes))

    after, _ = state.grow_sharded(before, grow, shardings)

    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(after))
    np.testing.assert_array_equal(
        after.params["embeddings"]["words"], whole.params["embeddings"]["words"]
    )
    assert jax.random.key_data(after.key).tolist() == [0, 0]
