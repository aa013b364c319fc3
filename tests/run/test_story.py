"""Tests of training a recipe in this process: devices, micro-batches, README example."""

from pathlib import Path

import jax
import numpy as np
import pytest

from bertgrow.data.sequences import pipeline
from bertgrow.recipes import load, resolve
from bertgrow.run import job
from bertgrow.train import loop, sharding

ROOT = Path(__file__).resolve().parents[2]
RECIPE = str(ROOT / "tests" / "small_recipe.py")


def losses(store, *, mesh, accumulate=1, steps=3):
    """Losses of the first steps of the last stage on a mesh."""
    recipe = load.read(f"{RECIPE}:plain", ["--config.optimizer.name=lamb"])
    made = job.make(resolve.resolve(recipe, vocab=store.vocab), [store])
    (stage,) = made.stages
    shardings = sharding.state_shardings(stage.task, stage.optimizer, mesh)
    state = loop.initial_state(stage.task, stage.optimizer, jax.random.key(0), shardings)
    with pipeline.batches(made.rows(0), batch=stage.batch) as batches:
        run = loop.steps(
            stage.task, state, batches, stage.optimizer,
            until=steps, mesh=mesh, accumulate=accumulate,
        )  # fmt: skip
        return [float(info.metrics["loss"]) for info in run]


@pytest.fixture(scope="module")
def on_one_device(store):
    return losses(store, mesh=sharding.make_mesh(devices=jax.devices()[:1]))


@pytest.mark.slow  # on a smaller network: tests/train/test_loop.py
def test_one_device_equals_micro_batches_on_eight(store, on_one_device):
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})

    on_eight = losses(store, mesh=mesh, accumulate=2)

    # Sums over shards and slices add the same numbers in another order.
    np.testing.assert_allclose(on_eight, on_one_device, rtol=1e-5)
