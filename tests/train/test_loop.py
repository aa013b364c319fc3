"""Tests of the training loop: equal results for any micro-batches, one trace."""

import itertools

import jax
import numpy as np
import optax
import pytest
import toy_task

from bertgrow.core import errors
from bertgrow.train import loop, sharding

MESH_8 = {"data": 2, "fsdp": 2, "tensor": 2}


def run(num_steps, *, mesh=None, dropout=0.1, accumulate=1, **settings):
    """Losses of `num_steps` steps and the last state."""
    mesh = mesh or sharding.make_mesh(devices=jax.devices()[:1])
    task, optimizer = toy_task.task(dropout), toy_task.optimizer(**settings)
    where = sharding.state_shardings(task, optimizer, mesh)
    state = loop.initial_state(task, optimizer, jax.random.key(0), where)
    infos = loop.steps(
        task,
        state,
        toy_task.batches(),
        optimizer,
        until=num_steps,
        mesh=mesh,
        accumulate=accumulate,
    )
    history = []
    for info in infos:
        history.append({name: float(value) for name, value in info.metrics.items()})
        state = info.state
    return history, state


def test_the_loss_falls():
    history, _ = run(40, peak=0.05)

    assert history[-1]["loss"] < history[0]["loss"] - 0.5


def test_one_device_agrees_with_eight():
    alone, state = run(6)
    together, spread = run(6, mesh=sharding.make_mesh(MESH_8))

    # Sums over devices are taken in another order, so the last bits of float32 differ.
    for one, eight in zip(alone, together, strict=True):
        np.testing.assert_allclose(one["loss"], eight["loss"], rtol=1e-5)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(spread.params), strict=True):
        # Adam divides by the root of tiny second moments, which enlarges those bits.
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_eight_devices_really_hold_parts():
    _, state = run(1, mesh=sharding.make_mesh(MESH_8))

    kernel = state.params["layers"]["up"]["kernel"]
    assert kernel.sharding.shard_shape(kernel.shape) == (2, 4, 8)


@pytest.mark.parametrize("spec", [pytest.param({"data": 1}, marks=pytest.mark.slow), MESH_8])
def test_accumulating_slices_equals_one_big_batch(spec):
    devices = jax.devices()[: np.prod(list(spec.values()))]
    mesh = sharding.make_mesh(spec, devices)

    whole, state = run(4, mesh=mesh, dropout=0.0)
    slices, summed = run(4, mesh=mesh, dropout=0.0, accumulate=4)

    # Only the order of additions differs.
    for one, many in zip(whole, slices, strict=True):
        assert one.keys() == many.keys()
        for name in one:
            np.testing.assert_allclose(one[name], many[name], rtol=1e-5, atol=1e-7)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(summed.params), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_a_stage_traces_its_step_once():
    traces = []
    task, optimizer = toy_task.task(on_trace=lambda: traces.append(1)), toy_task.optimizer()
    mesh = sharding.make_mesh(MESH_8)
    where = sharding.state_shardings(task, optimizer, mesh)
    state = loop.initial_state(task, optimizer, jax.random.key(0), where)

    for info in loop.steps(task, state, toy_task.batches(), optimizer, until=5, mesh=mesh):
        state = info.state
    assert len(traces) == 1


def test_a_step_compiled_from_shapes_alone_runs():
    task, optimizer = toy_task.task(), toy_task.optimizer()
    mesh = sharding.make_mesh(MESH_8)
    shapes = loop.state_shapes(task, optimizer, mesh)
    rows, _ = next(toy_task.batches())
    rows = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), rows)

    step = loop.compile_step(task, optimizer, shapes, rows, mesh)

    where = sharding.state_shardings(task, optimizer, mesh)
    state = loop.initial_state(task, optimizer, jax.random.key(0), where)
    infos = loop.steps(
        task, state, toy_task.batches(), optimizer, until=2, mesh=mesh, step=step
    )
    assert [info.step for info in infos] == [1, 2]


def test_the_dropout_key_never_advances():
    _, state = run(3)

    _, first = run(0)
    assert jax.random.key_data(state.key).tolist() == jax.random.key_data(first.key).tolist()


def test_the_position_is_where_the_data_stand_after_the_step():
    task, optimizer = toy_task.task(), toy_task.optimizer()
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    where = sharding.state_shardings(task, optimizer, mesh)
    state = loop.initial_state(task, optimizer, jax.random.key(0), where)

    infos = loop.steps(task, state, toy_task.batches(), optimizer, until=2, mesh=mesh)

    assert [info.position["row"] for info in infos] == [16, 32]


def test_metrics_tell_the_norm_and_the_rate():
    history, _ = run(2)

    assert set(history[0]) == {"loss", "accuracy", "grad_norm", "rate"}
    np.testing.assert_allclose([h["rate"] for h in history], [0.01 * 39 / 160, 0.01 * 38 / 80])


def test_data_that_end_too_early_are_named():
    task, optimizer = toy_task.task(), toy_task.optimizer()
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    where = sharding.state_shardings(task, optimizer, mesh)
    state = loop.initial_state(task, optimizer, jax.random.key(0), where)
    few = itertools.islice(toy_task.batches(), 2)

    with pytest.raises(errors.InputError, match="ended after step 2"):
        list(loop.steps(task, state, few, optimizer, until=5, mesh=mesh))


def test_any_optax_optimizer_will_do():
    task, optimizer = toy_task.task(), optax.sgd(0.1)
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    where = sharding.state_shardings(task, optimizer, mesh)
    state = loop.initial_state(task, optimizer, jax.random.key(0), where)

    (info,) = loop.steps(task, state, toy_task.batches(), optimizer, until=1, mesh=mesh)

    assert set(info.metrics) == {"loss", "accuracy", "grad_norm"}
