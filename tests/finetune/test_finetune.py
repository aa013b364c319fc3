"""`bertgrow finetune`: a stage of the training loop that stops, continues and reports."""

import json
import os
import signal

import commands
import devices
import jax
import numpy as np
import pretrained_models
import pytest
import small_tasks

from bertgrow.commands import evaluate, finetune, report
from bertgrow.core.errors import InputError, Stopped
from bertgrow.finetune import job, labelled, reading
from bertgrow.inference import model
from bertgrow.run import records
from bertgrow.train import loop, metrics

pytest.importorskip("sklearn", reason="scikit-learn is absent; install the package again")
QUICK = ("--learning-rate", "1e-2", "--batch", "8", "--epochs", "3")


@pytest.fixture(scope="module", autouse=True)
def one_device():
    """Several: test_processes_together.py, and tests/train."""
    with devices.only(1):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model, SST-2 and SQuAD v2.0, and a run of the first in `W`."""
    root = tmp_path_factory.mktemp("finetune")
    small_tasks.model(root / "model")
    small_tasks.sst2(root / "SST-2", longest=8)
    small_tasks.squad(root / "squad", version="v2.0")
    compile_step, compiled = loop.compile_step, []

    def compile_and_count(task, optimizer, state, batch, *args, **options):
        compiled.append(batch["tokens"].shape)
        return compile_step(task, optimizer, state, batch, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "compile_step", compile_and_count)
        assert commands.run(finetune, *sst2(root, "W")) == 0
    (root / "compiled.json").write_text(json.dumps(compiled))
    return root


def sst2(root, workdir):
    return (
        "--task", "glue/sst2", "--from", root / "model", "--data", root,
        "--workdir", root / workdir, *QUICK,
    )  # fmt: skip


def lines(workdir):
    """Rows of metrics.jsonl without clock times."""
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [
        {name: value for name, value in row.items() if name not in metrics.WALL_CLOCK}
        for row in rows
        if row["split"] not in metrics.NOT_COMPARED
    ]


def test_it_learns_and_evaluates_after_every_epoch(folder):
    evaluations = [row for row in lines(folder / "W") if row["split"] == "eval"]

    assert [row["step"] for row in evaluations] == [20, 40, 60]
    assert evaluations[-1]["accuracy"] == 1
    assert evaluations[-1]["loss"] < 0.1


def test_batches_of_each_length_compile_once(folder):
    steps = [row for row in lines(folder / "W") if row["split"] == "train"]
    notes = json.loads((folder / "W" / "results.json").read_text())["notes"]

    assert json.loads((folder / "compiled.json").read_text()) == [[8, 8], [8, 16]]
    assert notes[0].startswith("Training batches of 8, 16 tokens, by the length of their seq")
    assert notes[0] in (folder / "W" / "MODEL_CARD.md").read_text()
    assert all(0 <= row["padding"] < 0.5 for row in steps)
    assert max(row["padding"] for row in steps) > 0.05


def test_the_schedule_warms_up_for_a_tenth_and_decays(folder):
    rates = {row["step"]: row["rate"] for row in lines(folder / "W") if "rate" in row}

    assert rates[1] == pytest.approx(1e-2 / 6 * 59 / 60)
    assert rates[20] == pytest.approx(1e-2 * 40 / 60)
    assert rates[60] == 0


def test_predictions_are_in_the_layout_of_the_benchmark(folder, capsys):
    predictions = folder / "W" / "predictions"
    results = json.loads((folder / "W" / "results.json").read_text())

    scores = commands.printed(
        capsys, evaluate, "--task", "glue/sst2", "--data", folder,
        "--predictions", predictions / "dev" / "SST-2.tsv",
    )  # fmt: skip
    test = (predictions / "test" / "SST-2.tsv").read_text().splitlines()

    assert scores["accuracy"] == results["metrics"]["SST-2"]["accuracy"] == 1
    expected = [
        f"{number}\t{label}" for number, (_, label) in enumerate(small_tasks.texts(5, 2))
    ]
    assert test == ["index\tprediction", *expected]
    assert np.trace(results["details"]["SST-2"]["confusion"]) == 24


def test_the_card_and_the_report_show_the_result(folder):
    commands.run(report, folder / "W")

    card = (folder / "W" / "MODEL_CARD.md").read_text()
    assert "| SST-2 | accuracy | 1.0000 |" in card
    assert "| learning_rate | 0.01 |" in card
    assert f"1. bert of {folder / 'model'}" in card
    page = (folder / "W" / "report.html").read_text()
    assert "W: glue/sst2" in page
    assert "SST-2: label / prediction" in page
    assert "held-out accuracy" in page


@pytest.mark.slow
def test_a_stopped_run_continues_with_equal_metrics(folder, monkeypatch):
    compute = labelled.metrics.compute

    def stop_at_the_second(*args, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return compute(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(labelled.metrics, "compute", stop_at_the_second)
        with pytest.raises(Stopped, match="bertgrow finetune --task glue/sst2 --from"):
            commands.run(finetune, *sst2(folder, "stopped"))
    steps = [row["step"] for row in lines(folder / "stopped")]
    assert max(steps) < 60

    assert commands.run(finetune, *sst2(folder, "stopped")) == 0

    assert lines(folder / "stopped") == lines(folder / "W")


def test_only_the_used_heads_are_trained_and_the_result_loads(folder):
    before, after = model.load(folder / "model"), model.load(folder / "W")

    assert before.head is None
    assert (after.head.kind, after.head.classes) == ("classifier", ("0", "1"))
    assert after.head.weights["kernel"].shape == (16, 2)
    pretrained_models.assert_equal_trees(before.params["mlm"], after.params["mlm"])
    for module in ("embeddings", "layers", "pooler"):
        changed = jax.tree.map(np.array_equal, before.params[module], after.params[module])
        assert not all(jax.tree.leaves(changed))


def test_another_task_or_option_in_the_same_folder_is_refused(folder):
    words = sst2(folder, "W")
    with pytest.raises(InputError, match="schedule.peak: 0.01 -> 0.001"):
        commands.run(finetune, *words, "--learning-rate", "1e-3")
    with pytest.raises(InputError, match="was begun with other sequences: give its --data"):
        commands.run(finetune, *words, "--data", small_tasks.sst2(folder / "other", train=99))
    with pytest.raises(InputError, match="was begun for --task glue/sst2"):
        commands.run(finetune, *words, "--task", "squad2", "--data", folder / "squad")


@pytest.mark.slow
def test_squad_is_learnt_and_its_threshold_tuned(folder, capsys):
    commands.run(
        finetune, "--task", "squad2", "--from", folder / "model", "--data", folder / "squad",
        "--workdir", folder / "answers", *QUICK, "--epochs", 10,
    )  # fmt: skip
    predictions = folder / "answers" / "predictions" / "dev"

    scores = commands.printed(
        capsys, evaluate, "--task", "squad2", "--data", folder / "squad/dev-v2.0.json",
        "--predictions", predictions / "predictions.json",
    )  # fmt: skip

    results = records.read(folder / "answers").results
    assert results["compare_by"] == "best_f1"
    assert scores["f1"] == results["metrics"]["dev"]["best_f1"] > 80
    assert json.loads((predictions / "nbest.json").read_text())["dev1"][0]["text"]
    odds = json.loads((predictions / "null_odds.json").read_text())
    assert odds["dev0"] > odds["dev1"]  # dev0 has no answer


def test_what_does_not_fit_is_refused(folder):
    problem = reading.read("glue/sst2", folder, pretrained_models.tokenizer(), 32)
    source = pretrained_models.of(small_tasks.CONFIG)
    settings = job.Settings(1e-3, 512, 1.0, 32, 0, 10)

    with pytest.raises(InputError, match="160 training sequences, fewer than --batch 512"):
        job.make(problem, source, settings)

    pooled = pretrained_models.of(small_tasks.CONFIG.__class__(
        **{**vars(small_tasks.CONFIG), "pool": 2}
    ))  # fmt: skip
    squad = reading.read("squad2", folder / "squad", pretrained_models.tokenizer(), 32)
    with pytest.raises(InputError, match="pools its tokens"):
        job.make(squad, pooled, settings._replace(batch=8))
