"""Tests of `bertgrow distill`: copied weights, frozen weights and trained weights."""

import functools
import json
import shutil
from pathlib import Path

import distilling
import jax
import numpy as np
import pytest
from distilling import certificate, distil, made, rows

from bertgrow.core import keys
from bertgrow.growth import named_tree
from bertgrow.recipes import load, resolve
from bertgrow.train import metrics
from mobilebert.distill import objectives
from mobilebert.models import mobilebert

TAUGHT, PHASE, TRANSFERRED, DISTILLED = 6, 9, 12, 18  # steps at which something ends
FROZEN = ("embeddings", "mlm", "nsp")


@pytest.fixture(scope="module")
def finished(store, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "student"
    assert distil(store, workdir) == 0
    return workdir


@pytest.fixture(scope="module")
def saved(store, finished):
    """The state of the run at a step, of the stage number `index`."""
    return functools.partial(distilling.saved, made(store), finished)


def test_copied_weights_equal_the_teachers_to_the_bit_after_all_phases(finished, saved):
    leaves = {row["path"]: row["what"] for row in certificate(finished)["leaves"]}
    teacher = named_tree.by_path(saved(TAUGHT, 0).params)
    student = named_tree.by_path(saved(TRANSFERRED, 1).params)

    copied = [path for path, what in leaves.items() if what == "copied"]

    shared = {path for path in teacher if path.startswith(FROZEN)}
    norm = {"embeddings/norm/scale", "embeddings/norm/bias"}
    assert set(copied) == shared - norm
    for path in copied:
        np.testing.assert_array_equal(student[path], teacher[path], path)
    np.testing.assert_array_equal(student["embeddings/norm/scale"], 1)
    np.testing.assert_array_equal(student["embeddings/norm/bias"], 0)
    assert leaves["pooler/kernel"] == "left" and leaves["layers"] == "fresh"


def test_layers_above_the_active_one_do_not_move_by_a_bit(store, saved):
    stage = made(store).settings.stages[1]
    state = saved(PHASE, 1)
    key = keys.derive(state.key, keys.Purpose.STUDENT, stage.start)
    before = mobilebert.network(stage.model).init(key)["layers"]

    def still(layer):
        after = state.params["layers"]
        equal = jax.tree.map(lambda a, b: bool((a[layer] == b[layer]).all()), before, after)
        return {path for path, is_equal in named_tree.by_path(equal).items() if is_equal}

    assert still(1) == named_tree.by_path(before).keys()
    assert not any(path.endswith("kernel") for path in still(0))


def test_moments_are_zero_where_nothing_has_learnt_yet(saved):
    both = [dict(moments) for moments in _moments(saved(PHASE, 1))]

    for moments in both:
        layers = named_tree.by_path(moments.pop("layers"))
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(moments))
        assert not any(np.any(leaf[1]) for leaf in layers.values())
        assert all(np.any(leaf[0]) for path, leaf in layers.items() if path.endswith("kernel"))


def test_distillation_begins_with_fresh_moments_and_moves_everything(saved):
    before, after = saved(TRANSFERRED, 1), saved(DISTILLED, 2)

    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before.params, after.params)

    for path, is_moved in named_tree.by_path(moved).items():
        assert is_moved or not path.endswith(("kernel", "words", "extra")), path
    counts = [int(_adam(state).count) for state in (before, after)]
    assert counts == [TRANSFERRED - TAUGHT, DISTILLED - TRANSFERRED]


def _adam(state):
    return next(node for node in state.opt_state if hasattr(node, "mu"))


def _moments(state):
    return [_adam(state).mu, _adam(state).nu]


def test_every_layer_comes_closer_to_its_teacher_in_its_phase(finished):
    begin, *_, end = rows(finished, "eval", "1")
    training = rows(finished, "train", "1")

    losses = [row["loss"] for row in training]

    assert losses[0] > losses[2] and losses[3] > losses[5]
    assert len(end["transfer_hidden"]) == 2
    assert (np.array(end["transfer_hidden"]) < begin["transfer_hidden"]).all()
    assert not any("mlm_loss" in row for row in training)


@pytest.mark.slow
def test_a_run_that_ended_in_the_phases_reads_its_teacher_again_and_ends_equal(
    finished, store, tmp_path
):
    """As after a kill: later checkpoints are absent, the metrics go on a few steps longer."""
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    for path in (workdir / "checkpoints").iterdir():
        if path.name.isdecimal() and int(path.name) > PHASE:
            shutil.rmtree(path)
            (workdir / "checkpoints" / "checksums" / f"{path.name}.json").unlink()
    (workdir / "growth" / "1-2.json").unlink()
    path = workdir / "metrics.jsonl"
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(row for row in rows if json.loads(row)["step"] <= PHASE + 2))

    assert distil(store, workdir) == 0

    assert (workdir / "growth" / "1-2.json").exists()
    both = [metrics.read(path / "metrics.jsonl") for path in (finished, workdir)]
    assert metrics.differences(*both) == []


@pytest.mark.slow
@pytest.mark.parametrize("strategy, on", [("joint", 1), ("auxiliary", 2)])
def test_other_strategies_train_with_a_teacher_of_another_run(
    finished, store, tmp_path, strategy, on
):
    # The teacher, a finished student, has the norm of the new student.
    options = [f"--config.transfer.teacher={finished}", "--config.transfer.embedding_norm=copy"]

    assert distil(store, tmp_path, *options, variant=strategy, on=on) == 0

    losses = [row["loss"] for row in rows(tmp_path, "train", "0")]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert len(rows(tmp_path, "eval", "0")[-1]["transfer_attention"]) == 2
    assert certificate(tmp_path, "start-0")["leaves"]


def test_the_tasks_of_the_family_are_the_strategies_of_the_paper():
    assert set(objectives.OBJECTIVES) == {"progressive", "joint", "auxiliary", "distill"}


@pytest.mark.parametrize(
    "variant, options, message",
    [
        ("", ["stages[0].num_layers=3"], "a teacher of 3 layers and a student of 2"),
        ("", ["stages[0].width=24"], "teacher has width 24 and the student 16"),
        ("", ["stages[0].num_heads=4"], "teacher has num_heads 4 and the student 2"),
        ("", ["model.vocab_size=9"], "the store's vocabulary has 400"),
        ("", ["stages[1].steps=5"], "5 steps do not divide into 2 equal phases"),
        ("", ["stages[1].task=progresive"], "did you mean 'progressive'?"),
        ("", ["transfer.hiden=1"], "hiden"),
        ("", ["transfer.features=both"], "expected one of split, plain"),
        ("", ["transfer.hard=2.0"], "transfer.hard is 2.0; expected a number from 0 to 1"),
        ("", ["transfer.embedding_norm=copy"], "set it to identity or least_squares"),
        ("", ["model.norm=layer"], "'layer' in the student; set it to copy"),
        ("", ["model.norm=folded", "transfer.embedding_norm=least_squares"], "to identity"),
        ("untaught", [], "it has no teacher: put"),
        ("untaught", ["transfer.teacher=/nowhere"], "/nowhere is no working directory"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    store, tmp_path, capsys, variant, options, message
):
    code = distil(store, tmp_path, *(f"--config.{field}" for field in options), variant=variant)

    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda config: config["recipe"]["model"].update(family="bert"), "of another family"),
        (
            lambda config: config["store"].update(vocabulary="feed" * 16),
            "vocabulary feedfeedfeed",
        ),
        (lambda config: config["recipe"]["stages"][-1].update(width=24), "width 24 and the"),
    ],
)
def test_a_teacher_of_another_kind_is_refused(
    store, finished, tmp_path, capsys, change, message
):
    config = json.loads((finished / "config.json").read_text())
    change(config)
    if config["recipe"]["model"]["family"] == "bert":
        config["recipe"] = bert_recipe()
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps(config))
    (other / "checkpoints").symlink_to(finished / "checkpoints")

    options = f"--config.transfer.teacher={other}"
    code = distil(store, tmp_path / "run", options, variant="untaught")

    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1
    assert message in error


def bert_recipe():
    path = Path(__file__).resolve().parents[1] / "small_recipe.py"
    return resolve.plain(load.read(f"{path}:plain", []))
