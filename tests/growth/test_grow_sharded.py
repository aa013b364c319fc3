"""Tests of sharded growth: no transfers between devices, old buffers freed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
import tiny

from bertgrow.core import tree, types
from bertgrow.growth import in_place, registry, train_state

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
            mesh_axis = RULES.get(tree.base(axis))
            spec.append(None if mesh_axis in used else mesh_axis)
            used.add(mesh_axis)
        return jax.sharding.NamedSharding(mesh, jax.P(*spec))

    leaves = tree.map_named(at_leaf, params, axes)
    full = jax.sharding.NamedSharding(mesh, jax.P())
    opt_state = jax.eval_shape(OPTIMIZER.init, params)
    adam = opt_state[0]._replace(count=full, mu=leaves, nu=leaves)
    return types.TrainState(full, leaves, (adam, *opt_state[1:]), full)


def problem(mesh, new, moments="copy"):
    """A sharded state, the growth bound to it, and where the grown state goes."""
    net = small.network()
    params = tiny.params(net)
    full = types.TrainState(np.int32(3), params, OPTIMIZER.init(params), jax.random.key(0))
    # Moments that differ from zero: those of the weights themselves.
    adam = full.opt_state[0]._replace(mu=params, nu=jax.tree.map(np.square, params))
    full = full._replace(opt_state=(adam, *full.opt_state[1:]))
    growths = registry.between(OLD, new, width="equal")
    grow = functools.partial(
        train_state.grow_state,
        growths=growths,
        axes=net.axes,
        optimizer_init=OPTIMIZER.init,
        moments=moments,
    )
    shapes = jax.eval_shape(grow, full)
    return full, grow, place(mesh, shapes.params, net.axes)


def sharded(mesh, full):
    return jax.device_put(full, place(mesh, full.params, small.network().axes))


@pytest.fixture(scope="module")
def growth(mesh):
    """A growth of all axes: (full state, grow, shardings), grown state, cost and plan."""
    full, grow, shardings = problem(mesh, NEW, {"width": "exact", "depth": "copy"})
    plans, make_plan = [], in_place.make_plan

    def recorded(*arguments):
        plans.append(make_plan(*arguments))
        return plans[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_place, "make_plan", recorded)
        after, cost = in_place.grow_sharded(sharded(mesh, full), grow, shardings)
    return (full, grow, shardings), after, cost, plans[0]


def collectives(plan):
    texts = [part.program.as_text() for part in plan.parts]
    return {name for name in COLLECTIVES for text in texts if name in text}


def test_whole_ratios_move_nothing_between_devices(growth):
    *_, plan = growth

    assert collectives(plan) == set()


def test_other_ratios_have_to_move_units(mesh):
    """The check above finds a collective if there is one."""
    full, grow, shardings = problem(mesh, {**OLD, "mlp": 96})

    plan = in_place.make_plan(sharded(mesh, full), grow, shardings)

    assert collectives(plan) != set()


def test_shards_grow_as_one_device_does(growth):
    (full, grow, shardings), after, cost, _ = growth

    expected = jax.jit(grow)(full)

    jax.tree.map(
        np.testing.assert_array_equal,
        (after.params, after.opt_state, after.step),
        (expected.params, expected.opt_state, expected.step),
    )
    assert jax.tree.map(lambda leaf: leaf.sharding, after) == shardings
    assert cost["peak_source"] == "compiler"
    assert cost["seconds"] > 0
    leaves = jax.tree.leaves(after.params)
    num_bytes = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
    assert cost["peak_bytes"] >= 3 * num_bytes  # parameters and two moments


def test_the_peak_is_below_the_size_of_both_states(growth):
    *_, plan = growth

    saved = plan.old_bytes + plan.new_bytes - plan.peak_bytes
    assert saved > 0.8 * plan.old_bytes


def test_the_old_leaves_are_freed_and_the_new_ones_live(mesh):
    """A leaf that passes through unchanged, as most do in a growth of `mlp`, is not copied."""
    full, grow, shardings = problem(mesh, {**OLD, "mlp": 128})
    before = sharded(mesh, full)

    after, _ = in_place.grow_sharded(before, grow, shardings)

    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.params["layers"]["up"]))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(after))
    assert after.params["embeddings"]["words"] is before.params["embeddings"]["words"]
    np.testing.assert_array_equal(
        after.params["embeddings"]["words"], full.params["embeddings"]["words"]
    )
    assert jax.random.key_data(after.key).tolist() == [0, 0]


def doubled(state):
    """Two leaves that read `large`, one that reads nothing, and one unchanged leaf."""
    return {
        "large": jnp.concatenate([state["large"], state["large"]]),
        "both": jnp.concatenate([state["small"], state["large"]]),
        "fresh": jnp.zeros_like(state["moment"]),
        "same": state["same"],
    }


def test_the_peak_counts_live_leaves_at_every_part():
    """In units of 256 float32: old 4 + 1 + 2 + 3, of which `moment` (2) is freed at once."""
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    sizes = dict(large=4, small=1, moment=2, same=3)
    old = {
        name: jax.ShapeDtypeStruct((256 * size,), np.float32, sharding=sharding)
        for name, size in sizes.items()
    }

    plan = in_place.make_plan(
        old, doubled, dict.fromkeys(jax.eval_shape(doubled, old), sharding)
    )

    # 8 without the moment; + 8 (large) = 16; + 5 + 2 (both, fresh) = 23, the peak; then the
    # old large and small are freed, and 8 + 5 + 2 + 3 remain.
    unit = 256 * 4
    assert (plan.old_bytes, plan.new_bytes) == (10 * unit, 18 * unit)
    assert plan.peak_bytes == pytest.approx(23 * unit, abs=64)  # and a table of pointers
    assert [len(part.writes) for part in plan.parts] == [1, 2]
    assert len(plan.unused) == len(plan.unchanged) == 1
