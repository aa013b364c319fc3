"""Tests of the training loop: equal results for any micro-batches, one trace."""

import itertools
from typing import NamedTuple

import jax
import numpy as np
import optax
import pytest
import toy_task

from bertgrow.core import errors
from bertgrow.train import loop, sharding

MESH_8 = toy_task.MESH_8


class History(NamedTuple):
    metrics: list  # of every step
    params: list  # of every step, on the host
    positions: list
    state: object  # of the last step


def run(num_steps, *, mesh=None, accumulate=1):
    mesh = mesh or toy_task.mesh()
    task, optimizer = toy_task.task(), toy_task.optimizer(peak=0.05)
    state = toy_task.first_state(mesh)
    history = History([], [], [], None)
    for info in loop.steps(
        task, state, toy_task.batches(), optimizer,
        until=num_steps, mesh=mesh, accumulate=accumulate,
    ):  # fmt: skip
        history.metrics.append({name: float(value) for name, value in info.metrics.items()})
        history.params.append(jax.device_get(info.state.params))
        history.positions.append(info.position)
        state = info.state
    return history._replace(state=state)


@pytest.fixture(scope="module")
def on_one():
    return run(40)


@pytest.fixture(scope="module")
def on_eight():
    return run(6, mesh=toy_task.mesh(MESH_8))


def assert_params_close(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        # Adam divides by the root of tiny second moments, which enlarges the last bits; a
        # fiftieth of the largest learning rate, 0.05.
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_the_loss_falls(on_one):
    assert on_one.metrics[-1]["loss"] < on_one.metrics[0]["loss"] - 0.5


def test_one_device_agrees_with_eight(on_one, on_eight):
    # Sums over devices are taken in another order, so the last bits of float32 differ.
    for one, eight in zip(on_one.metrics, on_eight.metrics, strict=False):
        np.testing.assert_allclose(one["loss"], eight["loss"], rtol=1e-5)
    assert_params_close(on_one.params[5], on_eight.params[5])


def test_eight_devices_hold_parts(on_eight):
    kernel = on_eight.state.params["layers"]["up"]["kernel"]

    assert kernel.sharding.shard_shape(kernel.shape) == (2, 4, 8)


def test_micro_batches_on_four_devices_equal_the_whole_batch_on_one(on_one):
    """With dropout, whose masks follow the sequences."""
    sliced = run(4, mesh=toy_task.mesh({"data": 2, "fsdp": 2}), accumulate=4)

    # Only the order of additions differs.
    for one, many in zip(on_one.metrics, sliced.metrics, strict=False):
        assert one.keys() == many.keys()
        for name in one:
            np.testing.assert_allclose(one[name], many[name], rtol=1e-5, atol=1e-7)
    assert_params_close(on_one.params[3], sliced.params[3])


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


def test_the_key_of_the_state_is_constant(on_one):
    keys = [jax.random.key_data(key) for key in (on_one.state.key, jax.random.key(0))]

    assert keys[0].tolist() == keys[1].tolist()


def test_the_position_is_the_one_after_the_step(on_one):
    assert [position["row"] for position in on_one.positions[:2]] == [16, 32]


def test_metrics_have_the_gradient_norm_and_the_learning_rate(on_one):
    assert set(on_one.metrics[0]) == {"loss", "accuracy", "grad_norm", "rate"}
    learning_rates = [metrics["rate"] for metrics in on_one.metrics[:2]]
    np.testing.assert_allclose(learning_rates, [0.05 * 39 / 160, 0.05 * 38 / 80])


def test_data_that_end_too_early_are_named():
    task, optimizer = toy_task.task(), toy_task.optimizer(peak=0.05)
    few = itertools.islice(toy_task.batches(), 2)
    state = toy_task.first_state(toy_task.mesh())

    with pytest.raises(errors.InputError, match="ended after step 2"):
        list(loop.steps(task, state, few, optimizer, until=5, mesh=toy_task.mesh()))


def test_a_plain_optax_optimizer_has_no_learning_rate_among_its_metrics():
    """Shapes are enough: nothing is compiled."""
    task, optimizer = toy_task.task(), optax.sgd(0.1)
    state = loop.state_shapes(task, optimizer, toy_task.mesh())
    batch, _ = next(toy_task.batches())

    new_state, metrics = jax.eval_shape(loop.make_step(task, optimizer), state, (), batch)

    assert set(metrics) == {"loss", "accuracy", "grad_norm"}
    assert jax.tree.structure(new_state) == jax.tree.structure(state)
