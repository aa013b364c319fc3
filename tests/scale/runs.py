"""Runs in this process, to compare those of several processes or of other devices with."""

import shutil
from pathlib import Path

import devices
import numpy as np
import pods

from bertgrow import cli
from bertgrow.train import metrics

RECIPE = str(Path(__file__).parents[1].joinpath("small_recipe.py"))
# Sums of other parts in another order: 1e-6 relative after 12 steps, measured.
TOLERANCE = dict(rtol=2e-5, atol=2e-6)


def alone(command, recipe, store, workdir, *overrides, on=8):
    """A run in this process, on the first `on` devices."""
    words = [command, "--config", recipe, "--workdir", str(workdir), *overrides]
    with devices.only(on):
        assert cli.main([*words, f"--config.data.store={store.folder}"]) == 0
    return workdir


def mesh(**sizes):
    """Overrides of a recipe: sizes of the mesh axes, by default 1."""
    sizes = dict(data=1, fsdp=1, tensor=1) | sizes
    return [f"--config.mesh.{axis}={size}" for axis, size in sizes.items()]


def at_step(workdir, copy, step):
    """Copies a working directory, without the checkpoints after `step`."""
    shutil.copytree(workdir, copy)
    for folder in (copy / "checkpoints").iterdir():
        if folder.name.isdigit() and int(folder.name) > step:
            shutil.rmtree(folder)
            (copy / f"checkpoints/checksums/{folder.name}.json").unlink()
    return copy


def assert_equal(workdir, expected, tolerance=TOLERANCE, *, changes=()):
    """Equal rows of metrics, up to rounding, and equal positions in the data.

    Args:
      workdir, expected: working directories.
      tolerance: of floats.
      changes: fields of the recipe that `workdir` has changed since it began.
    """
    rows, others = (metrics.read(path / "metrics.jsonl") for path in (workdir, expected))
    changed = [row["field"] for row in rows if row["split"] == "change"]
    assert sorted(changed) == sorted(changes)
    rows, others = (
        [row for row in each if row["split"] not in metrics.NOT_COMPARED]
        for each in (rows, others)
    )
    assert [row.keys() for row in rows] == [row.keys() for row in others]
    for row, other in zip(rows, others, strict=True):
        for name in row.keys() - set(metrics.WALL_CLOCK):
            if isinstance(row[name], (str, int)):
                assert row[name] == other[name]
            elif name == "samples":  # rounding may change the most probable of two tokens
                assert places(row[name]) == places(other[name])
            else:
                np.testing.assert_allclose(row[name], other[name], **tolerance, err_msg=name)
    positions, others = map(pods.positions, (workdir, expected))
    assert {step: positions.get(step) for step in others} == others  # a stop saves more steps


def places(samples):
    return [sample["places"] for sample in samples]
