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


def history(job, index, *, mesh, accumulate=1, steps=3):
    """Metrics of the first steps of a stage: a random teacher, and a random student."""
    stage, config = job.stages[index], job.settings.stages[index]
    shardings = jax.tree.map(lambda leaf: leaf.sharding, stage.frozen.shapes(mesh))
    teacher = jax.jit(job.stages[0].task.init, out_shardings=shardings)(jax.random.key(1))
    task = stage.task._replace(frozen=teacher)
    state_shardings = sharding.state_shardings(task, stage.optimizer, mesh)
    state = loop.initial_state(task, stage.optimizer, jax.random.key(0), state_shardings)
    state = state._replace(step=jax.device_put(jnp.int32(config.start), state_shardings.step))
    with pipeline.batches(job.rows(index), batch=stage.batch) as batches:
        infos = loop.steps(
            task, state, padded(batches, config.model.pad_id), stage.optimizer,
            until=config.start + steps, mesh=mesh, accumulate=accumulate,
        )  # fmt: skip
        return [jax.device_get(info.metrics) for info in infos]


def padded(batches, pad_id):
    """The same rows, number i ending in 2 i tokens of padding: slices have unequal counts."""
    for rows, position in batches:
        num_rows, length = rows["tokens"].shape
        is_real = np.arange(length) < length - 2 * np.arange(num_rows)[:, None]
        yield rows | {"tokens": np.where(is_real, rows["tokens"], pad_id)}, position


@pytest.fixture(scope="module")
def job(store):
    """A run with a stage of each task, not begun."""
    return distilling.made(store, "every")


@pytest.fixture(scope="module", params=TASKS)
def on_one_device(request, job):
    """The index of a task's stage, and the metrics of its first steps."""
    index = 1 + TASKS.index(request.param)
    assert job.settings.stages[index].task == request.param
    return index, history(job, index, mesh=sharding.make_mesh(devices=jax.devices()[:1]))


def assert_equal(actual_steps, expected_steps):
    for actual, expected in zip(actual_steps, expected_steps, strict=True):
        assert actual.keys() == expected.keys() >= {"loss", "grad_norm", "tokens"}
        for name in actual:
            # The same float32 numbers, added in another order.
            np.testing.assert_allclose(actual[name], expected[name], 1e-5, 1e-7, err_msg=name)


@pytest.mark.slow
def test_slices_of_a_batch_on_eight_devices_train_like_the_whole_on_one(job, on_one_device):
    index, expected = on_one_device

    actual = history(job, index, mesh=sharding.make_mesh(MESH_8), accumulate=2)

    assert_equal(actual, expected)


@pytest.mark.slow
def test_all_phases_of_a_run_are_one_program(store, tmp_path):
    job, traces = distilling.made(store, "phases"), []
    teacher, student = job.stages

    def counted(batch):
        traces.append(1)
        return student.task.prepare(batch)

    stages = (teacher, student._replace(task=student.task._replace(prepare=counted)))
    trainer.run(job._replace(stages=stages), workdir.open_for(tmp_path, job.summary))

    state = distilling.saved(job, tmp_path, teacher.steps + student.steps, 1)
    kernel = optax.tree.get(state.opt_state, "mu")["layers"]["up"]["kernel"]
    assert [bool(layer.any()) for layer in kernel] == [True] * 4  # every layer had a phase
    assert len(traces) == 1
