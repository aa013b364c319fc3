"""Tests of changes of a running recipe: allowed, refused and recorded."""

import json

import pytest

from bertgrow.core import errors
from bertgrow.run import journal, progress, records, workdir
from bertgrow.train import metrics

RECIPE = {
    "seed": 0,
    "accumulate": 1,
    "log_every": 100,
    "eval": {"every": 1000, "rows": 512},
    "model": {"remat": "none", "width": 16},
    "stages": [{"steps": 10, "num_layers": 1}, {"steps": 10}],
}


def changed(field, value):
    """The recipe with another value in one field, e.g. `stages[1].remat`."""
    recipe = json.loads(json.dumps(RECIPE))
    *path, last = field.replace("[", ".").replace("]", "").split(".")
    place = recipe
    for name in path:
        place = place[int(name) if name.isdigit() else name]
    place[last] = value
    return recipe


def summary(recipe=RECIPE, **fields):
    stages = [{"name": "0", "start": 0, "end": 20, "flops_per_step": 1.0, "batch": 8}]
    return {"recipe": recipe, "stages": stages, "store": {"hash": "abc"}, **fields}


@pytest.fixture
def begun(tmp_path):
    """The working directory of a run that has saved a checkpoint."""
    workdir.open_for(tmp_path, summary())
    (tmp_path / "checkpoints/checksums").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    "field, value, before",
    [
        ("model.remat", "full", "none"),
        ("stages[1].remat", "dots", None),
        ("model.attention", "auto", None),  # a run from before there was a choice
        ("accumulate", 4, 1),
        ("eval.every", 5, 1000),
        ("eval.rows", 64, 512),
        ("log_every", 1, 100),
    ],
)
def test_a_run_continues_with_what_changes_figures_by_rounding_and_notes_it(
    begun, field, value, before
):
    workdir.open_for(begun, summary(changed(field, value)))

    config = workdir.read(begun)
    assert config["recipe"] == changed(field, value)
    expected = dict(step=None, field=field, before=before, after=value)
    assert config["changes"] == [expected]
    assert workdir.settle_changes(begun, 7) == [expected | dict(step=7)]
    assert workdir.read(begun)["changes"] == [expected | dict(step=7)]


def test_earlier_changes_are_kept_and_steps_trained_again_take_them_along(begun):
    for step, value in ((4, "dots"), (9, "full")):
        workdir.open_for(begun, summary(changed("model.remat", value)))
        workdir.settle_changes(begun, step)

    changes = workdir.settle_changes(begun, 6)  # checkpoint 9 was damaged

    assert [(change["step"], change["after"]) for change in changes] == [
        (4, "dots"),
        (6, "full"),
    ]


def test_only_the_fields_that_differ_are_named(begun):
    recipe = changed("seed", 1)
    recipe["stages"] = [{"steps": 10, "num_layers": 1}, {"steps": 12}, {"steps": 5}]

    with pytest.raises(errors.InputError) as refused:
        workdir.open_for(begun, summary(recipe))

    assert (
        "config.seed: 0 -> 1, config.stages[1].steps: 10 -> 12, "
        "config.stages[2].steps: absent -> 5;" in str(refused.value)
    )
    assert "num_layers" not in str(refused.value)


def test_a_directory_without_a_checkpoint_may_be_used_by_another_recipe(tmp_path):
    workdir.open_for(tmp_path, summary())

    workdir.open_for(tmp_path, summary(changed("seed", 1)))

    config = workdir.read(tmp_path)
    assert config["recipe"]["seed"] == 1 and config["changes"] == []


def test_a_refused_start_leaves_config_json_as_it_was(begun):
    before = (begun / "config.json").read_text()

    with pytest.raises(errors.InputError):
        workdir.open_for(begun, summary(changed("model.width", 32)))

    assert (begun / "config.json").read_text() == before


def begin_journal(path, step, changes, reporter=None):
    stages = summary()["stages"]
    with journal.Journal(path, stages, reporter or progress.Silent(), every=1) as log:
        log.begin(step, dict(stage=0, tokens=40), changes)


def test_teacher_checkpoints_of_a_run_of_an_earlier_version_are_read(begun):
    config = json.loads((begun / "config.json").read_text())
    config["lent"] = dict(teacher=dict(step=3, digest="feed" * 16))
    (begun / "config.json").write_text(json.dumps(config))

    assert workdir.pinned_teachers(begun) == config["lent"]


def test_a_run_of_other_random_keys_continues_with_one_warning_and_a_change(begun):
    """Version 1 of the key scheme wrote no `numerics`."""
    lines = []
    reporter = progress.Silent()
    reporter.event = lines.append

    for _ in range(2):  # the second start has the version of the first
        workdir.open_for(begun, summary(numerics=2))
        begin_journal(begun, 7, workdir.settle_changes(begun, 7), reporter)

    (line,) = lines
    assert "from step 7 on, masks and dropout" in line and "numerics 1 -> 2" in line
    (row,) = metrics.read(begun / "metrics.jsonl")
    expected = dict(step=7, split="change", field="numerics", before=1, after=2)
    assert row.items() >= expected.items()


def test_a_run_of_the_same_random_keys_has_no_change(tmp_path):
    workdir.open_for(tmp_path, summary(numerics=2))
    (tmp_path / "checkpoints/checksums").mkdir(parents=True)

    workdir.open_for(tmp_path, summary(numerics=2))

    assert workdir.read(tmp_path)["changes"] == []


@pytest.mark.parametrize("text", ["null", "[]", "{}", '{"recipe": {}}', "{"])
def test_a_config_json_of_no_run_is_refused_in_one_line(begun, text):
    (begun / "config.json").write_text(text)

    with pytest.raises(errors.InputError, match="config.json is damaged: ") as refused:
        workdir.open_for(begun, summary())

    assert "\n" not in str(refused.value)


def test_a_change_is_one_line_of_the_metrics_that_readers_and_comparisons_pass_over(begun):
    (begun / "metrics.jsonl").write_text(
        '{"step": 5, "stage": "0", "split": "train", "loss": 1.0, "tokens": 40, '
        '"flops": 5.0, "seconds": 1.0}\n'
    )
    before = metrics.read(begun / "metrics.jsonl")
    changes = [dict(step=5, field="model.remat", before="none", after="full")]

    for _ in range(2):  # killed and started again at the same step
        begin_journal(begun, 5, changes)

    rows = metrics.read(begun / "metrics.jsonl")
    assert [row["split"] for row in rows] == ["train", "change"]
    assert rows[-1].items() >= changes[0].items() and rows[-1]["tokens"] == 40
    assert metrics.differences(before, rows) == []
    assert len(records.read(begun).training) == 1
