"""Two processes fine-tune one model together as one process does."""

import json

import commands
import numpy as np
import pods
import pytest
import small_tasks

from bertgrow.commands import finetune
from bertgrow.train import metrics

# Sums of other parts in another order.
TOLERANCE = dict(rtol=2e-4, atol=2e-6)


@pytest.mark.slow
def test_two_processes_fine_tune_as_one_does(tmp_path):
    small_tasks.model(tmp_path / "model")
    words = (
        "--task", "glue/sst2", "--from", tmp_path / "model",
        "--data", small_tasks.sst2(tmp_path / "SST-2"), "--learning-rate", "1e-2",
        "--batch", "16", "--epochs", "1", "--grid", "seeds=1",
    )  # fmt: skip

    both = pods.Pod(tmp_path / "both", "finetune", *words, devices=4)
    commands.run(finetune, *words, "--workdir", tmp_path / "one")  # with eight devices
    assert both.codes() == [0, 0], both.said(1)

    assert "held-out" not in both.said(1)  # only the first process says how it goes on
    of_both, of_one = (
        next((tmp_path / name / "glue-sst2").iterdir()) for name in ("both", "one")
    )
    for row, other in zip(rows(of_both), rows(of_one), strict=True):
        assert row.keys() == other.keys()
        for name in row.keys() - set(metrics.WALL_CLOCK) - {"stage", "split"}:
            np.testing.assert_allclose(row[name], other[name], **TOLERANCE, err_msg=name)
    for split in ("dev", "test"):
        file = f"predictions/{split}/SST-2.tsv"
        assert (of_both / file).read_text() == (of_one / file).read_text()
    results = [json.loads((run / "results.json").read_text()) for run in (of_both, of_one)]
    assert results[0]["details"] == results[1]["details"]
    tables = [
        json.loads((tmp_path / name / "search.json").read_text()) for name in ("both", "one")
    ]
    assert tables[0] == tables[1]


def rows(workdir):
    rows = metrics.read(workdir / "metrics.jsonl")
    return [row for row in rows if row["split"] not in metrics.NOT_COMPARED]
