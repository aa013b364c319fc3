"""Tests of a complete run in this process: devices, micro-batches, README example, trace."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from bertgrow import cli
from bertgrow.data.sequences import pipeline
from bertgrow.recipes import load, resolve
from bertgrow.run import job
from bertgrow.train import loop, sharding

ROOT = Path(__file__).resolve().parents[2]
RECIPE = str(ROOT / "tests" / "small_recipe.py")


def losses(store, *, mesh, accumulate=1, steps=3):
    """Losses of the first steps of the last stage, without dropout, on a mesh."""
    given = [
        "--config.model.dropout=0.0",
        "--config.model.attention_dropout=0.0",
        "--config.optimizer.name=lamb",
    ]
    recipe = load.read(f"{RECIPE}:plain", given)
    todo = job.make(resolve.resolve(recipe, vocab=store.vocab), [store])
    (stage,) = todo.stages
    where = sharding.state_shardings(stage.task, stage.optimizer, mesh)
    state = loop.initial_state(stage.task, stage.optimizer, jax.random.key(0), where)
    with pipeline.batches(todo.rows(0), batch=stage.batch) as batches:
        run = loop.steps(
            stage.task, state, batches, stage.optimizer,
            until=steps, mesh=mesh, accumulate=accumulate,
        )  # fmt: skip
        return [float(info.metrics["loss"]) for info in run]


@pytest.fixture(scope="module")
def on_one_device(store):
    return losses(store, mesh=sharding.make_mesh(devices=jax.devices()[:1]))


def test_one_device_equals_eight(store, on_one_device):
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})

    found = losses(store, mesh=mesh)

    # Sums over shards add the same numbers in another order.
    np.testing.assert_allclose(found, on_one_device, rtol=1e-5)


def test_slices_of_a_batch_equal_the_whole(store, on_one_device):
    found = losses(store, mesh=sharding.make_mesh(devices=jax.devices()[:1]), accumulate=4)

    np.testing.assert_allclose(found, on_one_device, rtol=1e-5)


def test_the_notebook_example_of_the_readme_runs(store, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    monkeypatch.chdir(ROOT)

    exec(example.replace('"STORE"', repr(str(store.folder))).replace("until=20", "until=2"), {})

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2"]


def test_a_profile_of_a_window_leaves_a_trace_and_prints_its_path(store, tmp_path, capsys):
    code = cli.main(
        ["pretrain", "--config", f"{RECIPE}:plain", "--workdir", str(tmp_path)]
        + ["--profile", "2:9", f"--config.data.store={store.folder}"]
        + ["--config.stages[0].steps=2"]
    )

    assert code == 0
    (path,) = re.findall(r"trace of steps 2 to 2: (.*)", capsys.readouterr().out)
    assert list(Path(path).glob("*.xplane.pb"))
