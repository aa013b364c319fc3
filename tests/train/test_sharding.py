"""Tests of shardings from axis names."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_task
from hypothesis import given, settings
from hypothesis import strategies as st

from bertgrow.core import errors
from bertgrow.train import sharding

NAMES = ["layers", "ffn", "vocab", "positions", "embed", "heads", "kv", "mlp"]


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})


@pytest.mark.parametrize(
    "names, shape, expected",
    [
        (("layers", "embed_in", "mlp"), (2, 8, 16), jax.P(None, "fsdp", "tensor")),
        (("layers", "mlp_in", "embed"), (2, 16, 8), jax.P(None, "tensor", "fsdp")),
        (("layers", "heads", "kv"), (2, 4, 8), jax.P(None, "tensor", None)),
        (("vocab", "embed"), (24, 8), jax.P("tensor", "fsdp")),
        (("vocab", "embed"), (25, 8), jax.P(None, "fsdp")),  # 25 does not divide
        (("embed_in", "embed"), (8, 8), jax.P("fsdp", None)),  # a mesh axis serves once
        (("embed_in", "embed"), (7, 8), jax.P(None, "fsdp")),
    ],
)
def test_rules_map_names_to_mesh_axes(mesh, names, shape, expected):
    assert sharding.spec_of(shape, names, mesh) == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.booleans(), st.integers(1, 9))))
def test_every_leaf_gets_a_sharding_that_jax_accepts(dims):
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    names = tuple(name + "_in" * summed for name, summed, _ in dims)
    shape = tuple(size for *_, size in dims)

    spec = sharding.spec_of(shape, names, mesh)

    leaf_sharding = jax.NamedSharding(mesh, spec)
    assert math.prod(leaf_sharding.shard_shape(shape)) * 8 >= math.prod(shape)
    assert all(part is None for part, name in zip(spec, names, strict=True) if name == "layers")


def test_axes_that_are_not_sharded_are_listed(mesh):
    axes = {"words": jax.P("vocab", "embed")}
    shapes = {"words": jax.ShapeDtypeStruct((25, 8), jnp.float32)}

    unsharded = sharding.unsharded_axes(axes, shapes, mesh)

    assert unsharded == [sharding.UnshardedAxis("words", "vocab", 25, "tensor", 2)]


def test_moments_are_sharded_like_their_weights_and_the_rest_is_replicated(mesh):
    shardings = sharding.state_shardings(toy_task.task(), toy_task.optimizer(), mesh)

    adam = shardings.opt_state[1]
    assert adam.mu == shardings.params
    assert adam.nu == shardings.params
    assert adam.count.spec == jax.P() == shardings.step.spec == shardings.key.spec


def test_sequences_are_divided_over_data_and_fsdp(mesh):
    rows = {"tokens": np.arange(16, dtype=np.int32).reshape(8, 2)}

    placed = sharding.put(rows, mesh)["tokens"]

    assert placed.sharding.shard_shape(placed.shape) == (2, 2)
    np.testing.assert_array_equal(placed, rows["tokens"])


def test_a_batch_that_does_not_divide_is_named(mesh):
    with pytest.raises(
        errors.InputError, match=r"batch of 30 sequences .* 4 devices.*multiple of 4"
    ):
        sharding.check_batch(30, mesh)


def test_slices_of_a_batch_must_divide_too(mesh):
    sharding.check_batch(24, mesh, accumulate=3)
    with pytest.raises(errors.InputError, match="4 slices"):
        sharding.check_batch(24, mesh, accumulate=4)


def test_minus_one_takes_the_remaining_devices():
    assert dict(sharding.make_mesh({"tensor": 4}).shape) == {"data": 2, "fsdp": 1, "tensor": 4}


@pytest.mark.parametrize("spec", [{"fsdp": 3}, {"data": 2}, {"data": -1, "fsdp": -1}, {"x": 2}])
def test_a_mesh_that_does_not_fit_the_devices_is_refused(spec):
    with pytest.raises(errors.InputError, match="mesh"):
        sharding.make_mesh(spec)
