"""Tests of reading working directories: unfinished, damaged or of equal names."""

import hashlib
import json

import limits
import pytest
import synthetic
from reports import report_on
from synthetic import falling

from bertgrow.core import errors
from bertgrow.run import records
from bertgrow.train.checkpoints import checksums


def test_a_run_that_has_only_begun_can_be_reported(tmp_path):
    folder = synthetic.run(tmp_path / "run", losses=falling(1 / 400))
    (folder / "metrics.jsonl").unlink()
    (folder / "growth").rmdir()

    assert report_on(folder) == 0


def test_a_last_line_in_the_writing_is_left_out(pair):
    path = pair[0] / "metrics.jsonl"
    whole = path.read_bytes()
    rows = records.read(pair[0]).rows

    for cut in (1, 2, 30):  # the newline, the brace, the middle
        path.write_bytes(whole[:-cut])
        assert records.read(pair[0]).rows == rows[:-1]


def break_middle(folder):
    (folder / "metrics.jsonl").write_text('{"step": 1\n{"step": 2}\n')


def break_row(folder):
    (folder / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')


def break_config(folder):
    (folder / "config.json").write_text("{")


def drop_stages(folder):
    (folder / "config.json").write_text('{"recipe": {}}')


def set_config_to_null(folder):
    (folder / "config.json").write_text("null")


def make_row_a_number(folder):
    (folder / "metrics.jsonl").write_text("3\n")


def make_certificate_a_list(folder):
    (folder / "growth" / "0-1.json").write_text("[]")


def drop_config(folder):
    (folder / "config.json").unlink()


def make_unreadable(folder):
    (folder / "metrics.jsonl").unlink()
    (folder / "metrics.jsonl").mkdir()


@pytest.mark.parametrize(
    "damage, words",
    [
        (break_middle, "metrics.jsonl, line 1, is damaged: Expecting"),
        (break_row, "line 1, is damaged: object missing required field stage"),
        (break_config, "config.json is damaged: it is not JSON"),
        (drop_stages, "config.json is damaged: object missing required field stages"),
        (set_config_to_null, "config.json is damaged: expected object, got null"),
        (make_row_a_number, "line 1, is damaged: expected object, got int"),
        (make_certificate_a_list, "0-1.json is damaged: expected object, got array"),
        (drop_config, "is no working directory"),
        (make_unreadable, "cannot be read"),
    ],
)
def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path, damage, words):
    folder = synthetic.run(tmp_path / "run", losses=falling(1 / 400))
    damage(folder)

    with pytest.raises(errors.InputError, match=words) as caught:
        report_on(folder)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda rows: rows.replace(b"4.75", b"4.74"), "was changed, and checkpoint 100"),
        (lambda rows: rows[:500], "has 500 bytes, and checkpoint 100"),
    ],
)
def test_metrics_that_differ_from_those_of_the_newest_checkpoint_are_refused(
    tmp_path, damage, words
):
    folder = synthetic.run(tmp_path / "run", losses=falling(1 / 400))
    path = folder / "metrics.jsonl"
    rows = path.read_bytes()
    digest = dict(bytes=len(rows), sha256=hashlib.sha256(rows).hexdigest())
    path.write_bytes(rows + b'{"step": 3')  # what follows the checkpoint is not compared
    save(folder, 100, digest)
    assert report_on(folder) == 0

    path.write_bytes(damage(rows))

    with pytest.raises(errors.InputError, match=words):
        report_on(folder)


def test_rows_of_a_damaged_checkpoint_are_not_missed(tmp_path):
    folder = synthetic.run(tmp_path / "run", losses=falling(1 / 400))
    rows = (folder / "metrics.jsonl").read_bytes()
    save(folder, 100, dict(bytes=len(rows), sha256=hashlib.sha256(rows).hexdigest()))
    record = save(folder, 200, dict(bytes=len(rows) + 9, sha256="0" * 64))
    record.write_text(record.read_text() + " ")  # one byte too long

    assert report_on(folder) == 0


def save(folder, step, digest):
    """Writes what a report reads of a checkpoint; returns the file of its record."""
    checkpoints = folder / "checkpoints"
    record = checkpoints / str(step) / "record" / "metadata"
    for file in (record, checkpoints / "checksums" / f"{step}.json"):
        file.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(dict(record=dict(metrics=digest))))
    checksums.write(checkpoints / str(step), file)
    return record


def test_a_place_that_cannot_be_written_is_named(pair, tmp_path):
    with pytest.raises(errors.InputError, match="missing/report.html is missing"):
        report_on(pair[0], "--output", tmp_path / "missing" / "report.html")


@pytest.mark.parametrize("before", [None, "an older page"])
def test_a_full_disk_leaves_the_older_page_or_none(tmp_path, before):
    folder = synthetic.run(tmp_path / "run", losses=falling(1 / 400))
    page = folder / "report.html"
    if before:
        page.write_text(before)

    with limits.file_size(1000), pytest.raises(OSError, match="File too large") as failed:
        report_on(folder)

    assert failed.value.filename == str(page)
    assert (page.read_text() if page.exists() else None) == before
    assert not list(folder.glob("*.tmp"))


def test_runs_of_one_name_are_told_apart(tmp_path):
    folders = [
        synthetic.run(tmp_path / seed / "grow", losses=falling(1 / 400))
        for seed in ("s0", "s1")
    ]

    assert [run.name for run in records.read_all(folders)] == ["s0/grow", "s1/grow"]
    with pytest.raises(errors.InputError, match="twice"):
        records.read_all([folders[0], folders[0]])
