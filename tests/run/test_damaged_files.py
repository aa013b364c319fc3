"""Property tests of damaged files of a working directory: one line, or equal results."""

import argparse
import contextlib
import io
import json

import damage
import hypothesis
import pytest
import synthetic

from bertgrow.commands import report
from bertgrow.core.errors import InputError
from bertgrow.run import files, workdir
from bertgrow.train import metrics
from bertgrow.train.checkpoints import checksums, state_files

MANY = hypothesis.settings(max_examples=150, suppress_health_check=list(hypothesis.HealthCheck))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "grown"
    losses = synthetic.falling(1 / 400)
    return synthetic.run(folder, synthetic.GROWN, losses=losses, until=450)


def report_on(folder):
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    return report.main(parser.parse_args([str(folder)]))


@contextlib.contextmanager
def damaged(path, data):
    """Gives a file other contents inside the context."""
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)


@contextlib.contextmanager
def one_line():
    """Lets an InputError of one line pass."""
    try:
        yield
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "growth/0-1.json"])
def test_a_report_of_a_damaged_run_is_a_page_or_one_line(run, name):
    path = run / name

    @MANY
    @hypothesis.given(damage.of(path.read_text()))
    def read(data):
        with damaged(path, data), one_line(), contextlib.redirect_stdout(io.StringIO()):
            assert report_on(run) == 0

    read()


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_a_working_directory_of_another_version_is_refused(run, version):
    config = json.loads((run / "config.json").read_text()) | dict(version=version)

    with (
        damaged(run / "config.json", json.dumps(config).encode()),
        pytest.raises(InputError, match="at version"),
    ):
        workdir.read(run)


def test_a_run_with_a_damaged_config_json_continues_equally_or_is_refused(run):
    """`changes` and `saved` are kept from the file; all else comes from the recipe."""
    summary = json.loads((run / "config.json").read_text())
    path = run / "config.json"

    @MANY
    @hypothesis.given(damage.of(path.read_text()))
    def open_again(data):
        with damaged(path, data), one_line():
            workdir.open_for(run, summary)
            assert workdir.read(run).items() >= summary.items()

    open_again()


def test_metrics_that_a_checkpoint_was_saved_with_are_equal_or_refused(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with metrics.Writer(path) as writer:
        for step in (1, 2):
            writer.write(dict(step=step, split="train", loss=1.0 / step))
        digest = writer.digest()
        writer.write(dict(step=3, split="train", loss=0.25))
    rows = metrics.read(path)

    @MANY
    @hypothesis.given(damage.of(path.read_text()))
    def check(data):
        with damaged(path, data), one_line():
            metrics.check_unchanged(path, digest, 2)
            metrics.cut(path, 2)
            assert metrics.read(path)[:2] == rows[:2]

    check()
    path.unlink()
    with pytest.raises(InputError, match="is missing.*--restart"):
        metrics.check_unchanged(path, digest, 2)


def test_a_damaged_checksum_file_never_makes_a_checkpoint_intact(tmp_path):
    folder, path = tmp_path / "3", tmp_path / "3.json"
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "a").write_bytes(b"weights")
    (folder / "metadata").write_bytes(b"{}")
    checksums.write(folder, path)
    expected = json.loads(path.read_text())["files"]
    assert checksums.reason(folder, path) is None

    @MANY
    @hypothesis.given(damage.of(path.read_text()))
    def check(data):
        with damaged(path, data):
            reason = checksums.reason(folder, path)
            if reason is None:
                assert json.loads(path.read_text())["files"] == expected
            else:
                assert "\n" not in reason

    check()
    with damaged(path, b'{"files": {}}'):
        assert checksums.reason(folder, path) == "the file metadata is not in its checksum file"
    (folder / "extra").write_bytes(b"")
    assert checksums.reason(folder, path) == "the file extra is not in its checksum file"


def test_a_damaged_record_of_a_checkpoint_is_of_its_type_or_one_line(tmp_path):
    position = dict(row=8, cursors=[[0, 1, 2]])
    record = dict(
        stage=0, position=position, tokens=40, seconds=1.5, certificates=[], environment={},
        metrics=dict(bytes=3, sha256="0" * 64),
    )  # fmt: skip
    path = tmp_path / "record" / "metadata"
    path.parent.mkdir()
    path.write_text(json.dumps(dict(record=record, key="fry")))
    assert state_files.read_record(tmp_path, files.Record) == (record, "fry")

    @MANY
    @hypothesis.given(damage.of(path.read_text()))
    def read(data):
        with damaged(path, data), one_line():
            actual, key = state_files.read_record(tmp_path, files.Record)
            assert isinstance(actual["stage"], int) and isinstance(key, str)

    read()


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "growth"])
def test_a_folder_for_a_file_and_a_file_for_a_folder_are_one_line(tmp_path, name):
    folder = synthetic.run(tmp_path / "run", losses=synthetic.falling(1 / 400), until=100)
    path = folder / name
    if name == "growth":
        path.rmdir()
        path.write_text("")
    else:
        path.unlink()
        path.mkdir()

    with pytest.raises(InputError) as refused:
        report_on(folder)

    assert "\n" not in str(refused.value)
