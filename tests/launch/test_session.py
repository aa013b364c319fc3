"""A notebook session runs commands, continues them, and keeps its files for the next one."""

import sys
import time

import pytest

from bertgrow import notebook
from bertgrow.core import errors

NAME = notebook.NAME
# Stands in for Python: notes its call in the session's folder, ends with the next code.
PROGRAM = f"""#!{sys.executable}
import pathlib, sys
codes = pathlib.Path("codes")
code, *rest = codes.read_text().split()
codes.write_text(" ".join(rest))
with open("{NAME}/calls", "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
print("step", len(rest))
sys.exit(int(code))
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """A function (codes, minutes, saved) -> a session whose commands end with these codes."""
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "program"
    program.write_text(PROGRAM)
    program.chmod(0o755)

    def begin(codes, minutes=10, saved=None):
        (tmp_path / "codes").write_text(codes)
        monkeypatch.setattr(notebook.sys, "executable", str(program))
        (tmp_path / NAME).mkdir(exist_ok=True)
        return notebook.Session(tmp_path / NAME, saved, time.time() + 60 * minutes)

    return begin


def calls(session):
    return (session.folder / "calls").read_text().splitlines()


def test_training_goes_on_after_75_until_it_is_finished(start, capsys):
    session = start("75 75 0")

    is_finished = notebook.train(session, "pretrain", "--workdir", "w", save_minutes=5)

    assert is_finished
    assert calls(session) == ["-P -m bertgrow pretrain --workdir w --time-limit 5.00"] * 3
    assert capsys.readouterr().out.splitlines() == ["step 2", "step 1", "step 0"]


def test_training_stops_with_the_session(start, capsys):
    session = start("75 75", minutes=0)

    assert not notebook.train(session, "pretrain")

    assert not (session.folder / "calls").exists()
    assert "the next session continues" in capsys.readouterr().out


def test_the_last_start_gets_the_time_that_is_left(start):
    session = start("0", minutes=2)

    notebook.train(session, "pretrain")

    (call,) = calls(session)
    assert 1.9 <= float(call.split()[-1]) <= 2


@pytest.mark.parametrize("code", [1, 2, 137])
def test_a_command_that_fails_stops_the_notebook_and_keeps_the_files(start, tmp_path, code):
    session = start(f"{code} 0", saved=tmp_path / "drive")

    with pytest.raises(
        errors.InputError, match=f"`bertgrow report r` ended with exit code {code}"
    ):
        notebook.run(session, "report", "r")

    assert len(calls(session)) == 1
    assert (tmp_path / "drive" / "calls").exists()


def test_a_session_on_colab_continues_from_drive(tmp_path, monkeypatch):
    drive = tmp_path / "drive"
    drive.mkdir()
    for machine, content in (("first", "1"), ("second", "12")):
        (tmp_path / machine).mkdir()
        monkeypatch.chdir(tmp_path / machine)

        session = notebook.begin(10, drive=drive, kaggle=tmp_path / "none")
        with open(session.folder / "run", "a") as run:
            run.write(content[-1])
        notebook.keep(session)

        assert (drive / NAME / "run").read_text() == content


def test_an_interrupted_copy_leaves_the_one_before(tmp_path, monkeypatch):
    drive = tmp_path / "drive"
    (drive / NAME).mkdir(parents=True)
    (drive / NAME / "run").write_text("whole")
    (drive / f"{NAME}.new").mkdir()  # cut off here
    monkeypatch.chdir(tmp_path)

    session = notebook.begin(10, drive=drive, kaggle=tmp_path / "none")

    assert (session.folder / "run").read_text() == "whole"


def test_a_session_on_kaggle_continues_from_its_input(tmp_path):
    kaggle = tmp_path / "kaggle"
    (kaggle / "working").mkdir(parents=True)
    (kaggle / "input/run-1" / NAME).mkdir(parents=True)
    (kaggle / "input/run-1" / NAME / "run").write_text("half")

    session = notebook.begin(10, drive=tmp_path / "none", kaggle=kaggle)

    assert session.folder == kaggle / "working" / NAME
    assert session.saved is None
    assert (session.folder / "run").read_text() == "half"


def test_chips_without_bfloat16_train_in_float32(monkeypatch):
    def settings(kind):
        program = f"print('warning'); print('2|{kind}')"
        monkeypatch.setattr(notebook, "PROBE", program)
        return notebook.chips().settings

    assert settings("Tesla T4") == ["--config.model.dtype=float32"]
    assert settings("NVIDIA L4") == settings("TPU v5 lite") == []
