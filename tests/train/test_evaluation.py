"""Tests that evaluation weights batches by their counts, on any mesh."""

import itertools

import jax
import numpy as np
import pytest
import toy_task

from bertgrow.core import errors
from bertgrow.core.types import Task
from bertgrow.train import evaluation, sharding


def plain_task():
    """Mean of the numbers in `x` times the parameter, sequences with x < 0 not counted."""

    def evaluate(params, frozen, batch):
        counts = batch["x"] >= 0
        return {"mean": (params * (batch["x"] * counts).sum(), counts.sum())}

    return Task(None, None, None, evaluate, None)


@pytest.mark.parametrize("num_devices", [1, 4])
def test_every_sequence_counts_once(num_devices):
    mesh = sharding.make_mesh(devices=jax.devices()[:num_devices])
    params = jax.device_put(np.float32(10), sharding.replicated(mesh))
    batches = [{"x": np.float32([1, 2, 3, 4])}, {"x": np.float32([6, -1, -1, -1])}]

    # Not the mean of the two means, 25 and 60.
    assert evaluation.evaluate(plain_task(), params, batches, mesh=mesh) == {"mean": 32.0}


def test_a_request_to_stop_ends_it_between_two_batches():
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    params = jax.device_put(np.float32(1), sharding.replicated(mesh))
    drawn = []
    batches = ({"x": np.float32([drawn.append(n) or n])} for n in itertools.count())

    figures = evaluation.evaluate(
        plain_task(), params, batches, mesh=mesh, stop=lambda number: number == 2
    )

    assert figures is None and len(drawn) <= 4


def test_vectors_are_averaged_and_the_greatest_of_uncounted_figures_is_kept():
    def evaluate(params, frozen, batch):
        rows = batch["x"] * params  # [batch, 2]
        return {"layers": (rows.sum(axis=0), len(rows)), "peak": (rows.max(axis=0), None)}

    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    batches = [{"x": np.float32([[1, 9], [3, 2]])}, {"x": np.float32([[5, 4], [3, 1]])}]
    task = Task(None, None, None, evaluate, None)
    params = jax.device_put(np.float32(1), sharding.replicated(mesh))

    figures = evaluation.evaluate(task, params, batches, mesh=mesh)

    assert figures == {"layers": [3.0, 4.0], "peak": [5.0, 9.0]}


@pytest.mark.parametrize("num_devices", [1, 4])
def test_slices_give_the_figures_of_the_whole_batch_on_the_devices_that_hold_it(num_devices):
    """Batch 16 on 4 devices in 2 slices: 2 rows a device, and only sums travel."""

    def evaluate(params, frozen, batch):
        rows = batch["x"] * params  # [batch, 2]
        counts = batch["x"][:, 0] >= 0
        return {
            "mean": (rows.sum(where=counts[:, None], axis=0), counts.sum()),
            "peak": (rows.max(axis=0), None),
        }

    mesh = sharding.make_mesh(devices=jax.devices()[:num_devices])
    task = Task(None, None, None, evaluate, None)
    params = jax.device_put(np.float32(2), sharding.replicated(mesh))
    rows = {"x": np.random.default_rng(0).integers(-3, 20, (16, 2)).astype(np.float32)}
    batch = sharding.put(rows, mesh)

    steps = [
        evaluation.compile_evaluation(task, params, batch, mesh, accumulate=slices)
        for slices in (1, 2)
    ]

    whole, sliced = (
        evaluation.evaluate(task, params, [rows], mesh=mesh, compiled=s) for s in steps
    )
    assert sliced == whole
    moves = ("all-gather", "all-to-all", "collective-permute")
    assert not any(name in steps[1].as_text() for name in moves)


def test_a_batch_that_slices_do_not_divide_is_refused():
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    params = jax.device_put(np.float32(1), sharding.replicated(mesh))

    with pytest.raises(errors.InputError, match="3 slices"):
        evaluation.evaluate(
            plain_task(), params, [{"x": np.float32([1, 2, 3, 4])}], mesh=mesh, accumulate=3
        )


def test_no_batches_give_no_figures():
    mesh = sharding.make_mesh(devices=jax.devices()[:1])

    assert evaluation.evaluate(toy_task.task(), {}, [], mesh=mesh) == {}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_values_of_sequences_are_joined_and_scored_on_the_host(accumulate):
    def evaluate(params, frozen, batch):
        x = batch["x"] * params
        return {"mean": (x.sum(), len(x)), "values": (x,), "numbers": (batch["number"],)}

    def score(values):
        order = np.argsort(values["numbers"])
        return {"mean": values["mean"], "third": values["values"][order][2]}

    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    task = Task(None, None, None, evaluate, None, score=score)
    batches = [
        {"x": np.float32([[1], [2]]), "number": np.int32([3, 2])},
        {"x": np.float32([[3], [4]]), "number": np.int32([1, 0])},
    ]
    params = jax.device_put(np.float32(10), sharding.replicated(mesh))

    scores = evaluation.evaluate(task, params, batches, mesh=mesh, accumulate=accumulate)

    assert scores == {"mean": 25, "third": [20]}
