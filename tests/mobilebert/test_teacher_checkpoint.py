"""Tests of a teacher checkpoint from another run: not trained again, and pinned."""

import json
import shutil

import distilling
import pytest

from bertgrow.core.errors import InputError
from bertgrow.core.types import StageContext
from bertgrow.models import families
from bertgrow.recipes import load, resolve
from bertgrow.run import job
from bertgrow.train import metrics
from mobilebert.distill import teacher_checkpoint, teachers

TAUGHT = 6  # the newest checkpoint of `teacher`; 3 is the other


@pytest.fixture(scope="module")
def teacher(store, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("lending") / "teacher"
    assert distilling.distil(store, workdir, variant="teacher", command="pretrain") == 0
    return workdir


def resolved(folder, variant="", **options):
    overrides = [f"--config.transfer.teacher={folder}", "--config.model.vocab_size=400"]
    recipe = load.read(f"{distilling.RECIPE}:{variant}".rstrip(":"), overrides)
    return resolve.resolve(recipe, **options)


def digest(folder, step):
    with teacher_checkpoint.checkpoints(folder) as saves:
        return saves.digest(step)


@pytest.mark.parametrize(
    "variant, tasks",
    [
        ("", ["progressive", "distill"]),
        ("untaught", ["progressive"]),
        ("grow", ["progressive", "distill"]),
        ("teacher", ["masked_lm"]),  # a student without a teacher, for comparison
    ],
)
def test_a_teacher_that_is_there_is_not_trained_again_whatever_the_command(variant, tasks):
    stages = resolved("a-folder", variant).stages

    assert [stage.task for stage in stages] == tasks
    assert stages[0].start == 0


def test_a_run_begins_with_the_newest_checkpoint_and_records_it(store, teacher):
    settings = resolved(teacher, vocab=store.vocab)

    summary = job.make(settings, [store]).summary

    which = {"step": TAUGHT, "digest": digest(teacher, TAUGHT)}
    assert summary["pinned"] == {str(teacher): which}


def test_a_later_start_uses_the_pinned_checkpoint_and_not_a_newer_one(store, teacher):
    which = {"step": 3, "digest": digest(teacher, 3)}
    settings = resolved(teacher, vocab=store.vocab, pinned={str(teacher): which})

    source = teachers.find(StageContext(families.find("mobilebert"), settings, 0, store.vocab))

    assert (source.step, source.digest) == (3, which["digest"])
    assert job.make(settings, [store]).summary["pinned"] == {str(teacher): which}


@pytest.mark.parametrize(
    "which, message",
    [
        (
            {"step": 5, "digest": "feed" * 16},
            "its checkpoint 5, feedfeedfeed, which is missing",
        ),
        (
            {"step": 3, "digest": "feed" * 16},
            "3, feedfeedfeed, which now is {present}; restore",
        ),
    ],
)
def test_a_missing_or_changed_checkpoint_ends_a_later_start(
    store, teacher, tmp_path, capsys, which, message
):
    (tmp_path / "checkpoints" / "checksums").mkdir(parents=True)
    stages = [dict(name="0", start=0, end=1, flops_per_step=1.0)]
    config = dict(pinned={str(teacher): which}, recipe={}, stages=stages, store=dict(hash="a"))
    (tmp_path / "config.json").write_text(json.dumps(config))

    option = f"--config.transfer.teacher={teacher}"
    code = distilling.distil(store, tmp_path, option, variant="untaught")

    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1
    assert message.format(present=digest(teacher, 3)[:12]) in error


def test_a_teacher_before_its_last_stage_is_refused(teacher, tmp_path):
    shutil.copytree(teacher, tmp_path / "young")
    path = tmp_path / "young" / "config.json"
    config = json.loads(path.read_text())
    config["recipe"]["stages"] *= 2
    path.write_text(json.dumps(config))

    with pytest.raises(InputError, match="at step 6, .* last stage, which begins at 6"):
        teacher_checkpoint.find(str(tmp_path / "young"), 400)


@pytest.mark.slow
def test_a_student_killed_while_its_teacher_trains_on_ends_with_equal_metrics(
    store, teacher, tmp_path, monkeypatch
):
    shutil.copytree(teacher, tmp_path / "teacher")
    option = f"--config.transfer.teacher={tmp_path / 'teacher'}"
    assert distilling.distil(store, tmp_path / "quiet", option, variant="untaught") == 0
    distilling.crash_at(monkeypatch, 5)
    with pytest.raises(RuntimeError, match="power"):
        distilling.distil(store, tmp_path / "killed", option, variant="untaught")
    longer = ["--extend", "--config.stages[0].steps=9"]
    distilling.distil(
        store, tmp_path / "teacher", *longer, variant="teacher", command="pretrain"
    )
    assert teacher_checkpoint.newest(str(tmp_path / "teacher"))[0] == 9
    assert distilling.distil(store, tmp_path / "killed", option, variant="untaught") == 0

    both = [metrics.read(tmp_path / run / "metrics.jsonl") for run in ("quiet", "killed")]
    assert metrics.differences(*both) == []
