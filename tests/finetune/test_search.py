"""Grids of settings, and several runs in one folder that continues after a stop."""

import collections
import json
import threading

import commands
import jax
import pretrained_models
import pytest
import small_tasks

from bertgrow.commands import finetune
from bertgrow.core import signals
from bertgrow.core.errors import InputError, Stopped
from bertgrow.finetune import grid, job, reading, search, side_by_side
from bertgrow.train import loop, metrics, sharding

BASE = job.Settings(1e-3, 8, 1.0, 32, 0, 10)


def test_a_grid_has_every_combination_and_equal_shapes_follow_each_other():
    values, seeds = grid.parse(["learning_rate=1e-5,3e-5", "batch=16,32", "seeds=2"])

    runs = [settings for _, settings in grid.settings(BASE, values, seeds)]

    assert [run.batch for run in runs] == [16] * 4 + [32] * 4
    assert [run.seed for run in runs] == [0, 1] * 4
    assert len({grid.folder(run) for run in runs}) == 8
    assert grid.folder(runs[0]) == "learning_rate=1e-05,batch=16,epochs=1,seed=0"


def test_presets_are_the_grids_of_the_papers():
    bert, _ = grid.parse(["bert"])
    mobilebert, seeds = grid.parse(["mobilebert", "epochs=5", "seeds=3"])

    assert bert["learning_rate"] == (2e-5, 3e-5, 5e-5)
    assert max(mobilebert["learning_rate"]) == pytest.approx(1e-4)
    assert (mobilebert["epochs"], seeds) == ((5.0,), 3)


@pytest.mark.parametrize(
    "word, expected",
    [
        ("learning_rat=1", "did you mean 'learning_rate'"),
        ("batch=1.5", "expected numbers above 0"),
        ("seeds=1,2", "expected one number above 0"),
        ("large", "expected NAME=VALUES, or bert or mobilebert"),
        ("seeds=99999", "99,999 runs; expected at most 10,000"),
    ],
)
def test_a_wrong_grid_is_one_line(word, expected):
    with pytest.raises(InputError, match=expected):
        grid.parse([word])


@pytest.mark.slow
def test_runs_of_one_shape_share_their_compiled_step(tmp_path):
    problem = reading.read(
        "glue/sst2", small_tasks.sst2(tmp_path / "d"), pretrained_models.tokenizer(), 32
    )
    source, mesh = pretrained_models.of(small_tasks.CONFIG), sharding.make_mesh()

    def program(settings):
        stage = (made := job.make(problem, source, settings)).stages[0]
        state = loop.state_shapes(stage.task, stage.optimizer, mesh)
        step = jax.jit(loop.make_step(stage.task, stage.optimizer))
        return step.lower(state, (), made.held_out(0)[0]).as_text()

    first = program(BASE)

    assert program(BASE._replace(learning_rate=1e-4, epochs=3.0, seed=1)) == first


def fake_runs(values, stop_at=None):
    """`fine_tune` that writes scores from `values`, {(task, learning rate, seed): score}."""
    done = []

    def fine_tune(task, settings, folder, place=None):
        if len(done) == stop_at:
            raise Stopped("stopped")
        done.append(folder.name)
        folder.mkdir(parents=True)
        metrics = dict(accuracy=values[task, settings.learning_rate, settings.seed])
        metrics |= dict(loss=1.0, f1=metrics["accuracy"] / 2)
        results = dict(
            task=task, step=1, compare_by="accuracy", metrics=dict(dev=metrics),
            details={}, notes=[],
        )  # fmt: skip
        (folder / "results.json").write_text(json.dumps(results))
        stages = [dict(name="0", start=0, end=1, flops_per_step=1.0)]
        config = dict(
            recipe={}, stages=stages, store=dict(hash="data"),
            finetuning=dict(
                task=task, source="model", step=None, classes=None, head="classifier", outputs=1
            ),
        )  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))

    return fine_tune, done


def test_a_search_continues_and_compares_means_over_seeds(tmp_path):
    values = {
        ("glue/mrpc", 1e-5, 0): 0.5, ("glue/mrpc", 1e-5, 1): 0.7,
        ("glue/mrpc", 3e-5, 0): 0.9, ("glue/mrpc", 3e-5, 1): 0.8,
        ("glue/wnli", 1e-5, 0): 0.4, ("glue/wnli", 1e-5, 1): 0.4,
        ("glue/wnli", 3e-5, 0): 0.2, ("glue/wnli", 3e-5, 1): 0.2,
    }  # fmt: skip
    tasks, of = ["glue/mrpc", "glue/wnli"], grid.parse(["learning_rate=1e-5,3e-5", "seeds=2"])

    def run(fine_tune, source="model"):
        return search.run_all(
            tmp_path, tasks, lambda task: grid.settings(BASE, *of), fine_tune,
            lambda task: ("data", source, None),
        )  # fmt: skip

    first, done = fake_runs(values, stop_at=5)
    with pytest.raises(Stopped):
        run(first)
    second, rest = fake_runs(values)
    table = run(second)

    assert (len(done), len(rest)) == (5, 3)
    rows = table["tasks"]["glue/mrpc"]["rows"]
    assert [row["setting"] for row in rows] == [
        dict(learning_rate=3e-5),
        dict(learning_rate=1e-5),
    ]
    assert rows[0]["mean"] == pytest.approx(0.85)
    assert rows[0]["deviation"] == pytest.approx(0.05 * 2**0.5)
    best = "glue-mrpc/learning_rate=3e-05,batch=8,epochs=1,seed=0"
    assert table["tasks"]["glue/mrpc"]["best"] == best
    # MRPC counts with the mean of accuracy and F1, 0.675; WNLI with its accuracy of 0.4.
    assert table["glue"] == pytest.approx(
        {"average of 2 tasks": 0.5375, "average of 2 tasks without WNLI": 0.675}
    )
    text = "\n".join(search.lines(table))
    assert "0.8500 +- 0.0707  learning_rate 3e-05  (2 seeds)" in text
    assert json.loads((tmp_path / "search.json").read_text()) == table
    with pytest.raises(InputError, match="of other data, or of another model or teacher"):
        run(second, source="another")


def test_the_tasks_of_a_folder_are_found(tmp_path):
    small_tasks.sst2(tmp_path / "SST-2")
    (tmp_path / "RTE").mkdir()

    assert search.found_tasks(tmp_path) == ["glue/sst2"]


def test_every_device_has_one_run_at_a_time():
    together, used = threading.Barrier(2, timeout=60), []

    def train(place):
        together.wait()  # breaks if two do not run at the same time
        used.append(place.device)

    with signals.StopRequest(signals=()) as stop:
        side_by_side.run([train] * 4, ["one", "two"], stop)

    assert collections.Counter(used) == dict(one=2, two=2)


def test_after_a_stop_no_further_run_begins():
    begun = []

    def stopped(place):
        begun.append(place.device)
        raise Stopped("stopped early")

    with signals.StopRequest(signals=()) as stop, pytest.raises(Stopped):
        side_by_side.run([stopped] * 3, ["one"], stop)

    assert begun == ["one"]


@pytest.mark.slow
def test_runs_at_the_same_time_equal_runs_one_after_another(tmp_path, monkeypatch):
    words = (
        "--task", "glue/sst2", "--from", small_tasks.model(tmp_path / "model"),
        "--data", small_tasks.sst2(tmp_path / "SST-2", train=32, dev=8), "--batch", "8",
        "--learning-rate", "1e-2", "--epochs", "1", "--grid", "seeds=2",
    )  # fmt: skip
    devices = jax.devices()

    for name, used in (("both", devices[:2]), ("one", devices[:1])):
        monkeypatch.setattr(jax, "devices", lambda *_, used=used: used)
        assert commands.run(finetune, *words, "--workdir", tmp_path / name) == 0

    tables = [(tmp_path / name / "search.json").read_text() for name in ("both", "one")]
    assert tables[0] == tables[1]
    runs = sorted((tmp_path / "both" / "glue-sst2").iterdir())
    assert len(runs) == 2
    for run in runs:
        other = tmp_path / "one" / "glue-sst2" / run.name
        rows = [metrics.read(path / "metrics.jsonl") for path in (run, other)]
        assert metrics.differences(*rows) == []
