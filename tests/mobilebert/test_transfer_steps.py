"""Tests of transfer steps: equal for any micro-batches, one program for all phases."""

import distilling
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bertgrow.data.sequences import pipeline
from bertgrow.run import trainer, workdir
from bertgrow.train import loop, sharding

TASKS = ("progressive", "joint", "distill", "auxiliary")
MESH_8 = {"data": 2, "fsdp": 2, "tensor": 2}


def history(todo, index, *, mesh, accumulate=1, steps=3):
    """Metrics of the first steps of a stage: a random teacher, and a random student."""
    stage, given = todo.stages[index], todo.settings.stages[index]
    theirs = jax.tree.map(lambda leaf: leaf.sharding, stage.frozen.shapes(mesh))
    teacher = jax.jit(todo.stages[0].task.init, out_shardings=theirs)(jax.random.key(1))
    task = stage.task._replace(frozen=teacher)
    where = sharding.state_shardings(task, stage.optimizer, mesh)
    state = loop.initial_state(task, stage.optimizer, jax.random.key(0), where)
    state = state._replace(step=jax.device_put(jnp.int32(given.start), where.step))
    with pipeline.batches(todo.rows(index), batch=stage.batch) as batches:
        infos = loop.steps(
            task, state, padded(batches, given.model.pad_id), stage.optimizer,
            until=given.start + steps, mesh=mesh, accumulate=accumulate,
        )  # fmt: skip
        return [jax.device_get(info.metrics) for info in infos]


def padded(batches, pad_id):
    """The same rows, number i ending in 2 i tokens of padding: slices have unequal counts."""
    for rows, position in batches:
        num_rows, length = rows["tokens"].shape
        is_real = np.arange(length) < length - 2 * np.arange(num_rows)[:, None]
        yield rows | {"tokens": np.where(is_real, rows["tokens"], pad_id)}, position


@pytest.fixture(scope="module")
def todo(store):
    """A run with a stage of each task, not begun."""
    return distilling.made(store, "every")


@pytest.fixture(scope="module", params=TASKS)
def on_one_device(request, todo):
    """The index of a task's stage, and the metrics of its first steps."""
    index = 1 + TASKS.index(request.param)
    assert todo.settings.stages[index].task == request.param
    return index, history(todo, index, mesh=sharding.make_mesh(devices=jax.devices()[:1]))


def assert_equal(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys() >= {"loss", "grad_norm", "tokens"}
        for name in ours:
            # The same float32 numbers, added in another order.
            np.testing.assert_allclose(ours[name], theirs[name], 1e-5, 1e-7, err_msg=name)


@pytest.mark.slow
def test_slices_of_a_batch_teach_what_the_whole_does(todo, on_one_device):
    index, expected = on_one_device

    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    found = history(todo, index, mesh=mesh, accumulate=2)

    assert_equal(found, expected)


@pytest.mark.slow
def test_eight_devices_teach_what_one_does(todo, on_one_device):
    index, expected = on_one_device

    found = history(todo, index, mesh=sharding.make_mesh(MESH_8))

    assert_equal(found, expected)


@pytest.mark.slow
def test_all_phases_of_a_run_are_one_program(store, tmp_path):
    todo, traces = distilling.made(store, "phases"), []
    teacher, student = todo.stages

    def counted(batch):
        traces.append(1)
        return student.task.prepare(batch)

    stages = (teacher, student._replace(task=student.task._replace(prepare=counted)))
    trainer.run(todo._replace(stages=stages), workdir.open_for(tmp_path, todo.summary))

    state = distilling.saved(todo, tmp_path, teacher.steps + student.steps, 1)
    kernel = optax.tree.get(state.opt_state, "mu")["layers"]["up"]["kernel"]
    assert [bool(layer.any()) for layer in kernel] == [True] * 4  # else no phase of its own
    assert len(traces) == 1
