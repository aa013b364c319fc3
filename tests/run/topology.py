"""Continues a finished run from its middle, on other devices, and compares the two."""

import shutil

import numpy as np

from bertgrow.train import metrics
from bertgrow.train.checkpoints import checkpoint

EXACT = ("step", "split", "stage", "tokens", "flops")  # the data order and what follows from it
TIMES = ("seconds", "tokens_per_second")


def at_step(workdir, copy, step):
    """Copies a working directory, without the checkpoints after `step`."""
    shutil.copytree(workdir, copy)
    for folder in (copy / "checkpoints").iterdir():
        if folder.name.isdigit() and int(folder.name) > step:
            shutil.rmtree(folder)
            (copy / f"checkpoints/checksums/{folder.name}.json").unlink()
    return copy


def position(workdir, step):
    """The data position that a checkpoint records."""
    with checkpoint.Checkpoints(workdir / "checkpoints") as saves:
        return saves.record(step)["position"]


def assert_equal_runs(one, other, *, rtol=1e-4):
    """Equal metrics at float tolerance; equal tokens at every step mean equal sequences."""
    first, second = (
        [row for row in metrics.read(workdir / "metrics.jsonl") if row["split"] != "change"]
        for workdir in (one, other)
    )
    assert len(first) == len(second)
    for row, expected in zip(second, first, strict=True):
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            if name in EXACT:
                assert row[name] == value
            elif name not in TIMES:
                np.testing.assert_allclose(row[name], value, rtol=rtol, err_msg=name)
