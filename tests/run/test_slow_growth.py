"""Tests of a run that trains new layers alone, ramps units in and learns its last growth."""

import json
from pathlib import Path

import numpy as np
import pytest

from bertgrow import cli
from bertgrow.run import weights
from bertgrow.train import metrics


@pytest.mark.slow
def test_growth_that_takes_its_time_runs_from_end_to_end(store, tmp_path):
    recipe = str(Path(__file__).resolve().parents[1].joinpath("slow_growth.py"))
    command = ["pretrain", "--config", recipe, "--workdir", str(tmp_path / "run")]
    command += ["--config.checkpoint.every=3", "--config.checkpoint.keep=20"]

    assert cli.main([*command, f"--config.data.store={store.folder}"]) == 0

    growth = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "run/growth").iterdir()}
    operators = {
        name: [row["operator"] for row in each["rows"]] for name, each in growth.items()
    }
    assert operators == {"0-1": ["mslt"], "1-2": ["msg"], "2-3": ["ligo"], "3-4": ["ligo"]}
    assert growth["1-2"]["rows"][0]["holds"] is True
    rows = metrics.read(tmp_path / "run/metrics.jsonl")
    losses = {(r["step"], r["stage"]): r["mask_loss"] for r in rows if r["split"] == "eval"}
    # Masked units show in no evaluation either, and merging changes nothing but rounding.
    assert losses[8, "2"] == pytest.approx(losses[8, "1"], abs=1e-5)
    assert losses[16, "4"] == pytest.approx(losses[16, "3"], abs=1e-5)

    # In the middle of the ramp a checkpoint loads as what trains: half of each new unit.
    half, whole = (weights.read(tmp_path / "run", step).params for step in (9, 12))
    down = [
        np.abs(params["layers"]["down"]["kernel"]).mean(axis=(0, 2)) for params in (half, whole)
    ]
    np.testing.assert_allclose(down[0][16:] / down[1][16:], 0.5, rtol=0.05)
    np.testing.assert_allclose(down[0][:16] / down[1][:16], 1, rtol=0.05)
