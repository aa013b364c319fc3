"""Reports and comparisons of fine-tuning runs: by the dev metric of their task."""

import json

import pytest
from reports import Tags, report_on

from bertgrow import cli

STAGE = dict(
    name="0", start=0, end=30, flops_per_step=1e9, parameters=1000, length=16, batch=8, layers=1
)


def tuned(folder, accuracies, *, seed=0, task="glue/sst2", is_finished=True):
    """Writes a fine-tuning run that evaluates after each epoch of ten steps."""
    folder.mkdir(parents=True)
    config = dict(
        recipe=dict(seed=seed, eval=dict(every=10)), stages=[STAGE], store=dict(hash="d"),
        finetuning=dict(task=task, source="m", step=None, head="classifier", outputs=2,
                        classes=["0", "1"], metric="accuracy"),
    )  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    rows = [
        dict(step=10 * epoch, stage="0", split="eval", loss=1.0, accuracy=accuracy, length=16,
             tokens=100 * epoch, flops=1e10 * epoch, seconds=float(epoch))
        for epoch, accuracy in enumerate(accuracies, 1)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if is_finished:
        details = dict(classes=["0", "1"], confusion=[[5, 2], [1, 8]], majority=None)
        results = dict(
            task=task, step=30, compare_by="accuracy", details=dict(dev=details), notes=[],
            metrics=dict(dev=dict(accuracy=accuracies[-1])),
        )  # fmt: skip
        (folder / "results.json").write_text(json.dumps(results))
    return folder


def lines(capsys):
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_report_compares_runs_by_the_metric_of_their_task(tmp_path, capsys):
    runs = [
        tuned(tmp_path / "one", [0.5, 0.9, 0.8]),
        tuned(tmp_path / "two", [0.5, 0.6, 0.75]),
        tuned(tmp_path / "new", [], is_finished=False),
        tuned(tmp_path / "other", [0.5], task="glue/cola"),
    ]

    report_on(*runs)

    out = lines(capsys)
    assert out[0] == "arm step params task metric dev best epoch tokens compute time"
    assert out[1] == (
        "one 30/30 1 k glue/sst2 accuracy 0.8000 0.9000 2 300 30 GFLOP 3.0 s"
    )  # fmt: skip
    assert "two against one: accuracy 0.7500, 0.0500 below 0.8000" in out
    assert "new against one: not evaluated yet, no conclusion" in out
    assert "other against one: another task, no conclusion" in out
    page = (runs[0] / "report.html").read_text()
    assert page.count("dev: label / prediction") == 3
    assert "merely by copying" not in page


def test_seeds_of_a_grid_are_one_arm_with_mean_and_deviation(tmp_path, capsys):
    for name, last in (
        ("a,seed=0", 0.7),
        ("a,seed=1", 0.9),
        ("b,seed=0", 0.9),
        ("b,seed=1", 1),
    ):
        tuned(tmp_path / name, [0.5, 0.6, last], seed=int(name[-1]))

    assert cli.main(["compare", str(tmp_path)]) == 0

    out = lines(capsys)
    assert out[1].startswith("a 30/30 1 k glue/sst2 accuracy 0.8000 +- 0.1414 0.8000 3")
    assert (
        "b against a: accuracy 0.9500 +- 0.0707, 0.1500 above 0.8000 +- 0.1414 (2 seeds)" in out
    )
    page = (tmp_path / "compare.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert not (tags.wrong or tags.open or tags.loads)
    for name in ("a,seed=0", "a,seed=1", "b,seed=0", "b,seed=1"):
        assert name in page
    picture = (tmp_path / "compare.svg").read_text()
    assert picture.count("dev accuracy") >= 2 and "nothing to draw" not in picture
    arms = json.loads((tmp_path / "compare.json").read_text())["arms"]
    assert [arm["dev"]["last"] for arm in arms] == pytest.approx([0.8, 0.95])
