"""`bertgrow drill`: kills of real processes, what counts as a failure, and its errors."""

import json
import signal

import pytest
from small_runs import RECIPE

from bertgrow import cli
from bertgrow.run.drill import drill

TERM, KILL = "SIGTERM", "SIGKILL"


def kill(codes, *, number=TERM, phase="step 3"):
    return drill.Kill(number, "all", 1.0, phase, codes, 0.5)


@pytest.mark.parametrize(
    ("codes", "number", "phase"),
    [
        ([75], TERM, "step 3"),
        ([0], TERM, "step 8"),  # it arrived after the last save
        ([-signal.SIGTERM], TERM, "starting"),  # before Python handled it
        ([-signal.SIGKILL], KILL, "compiling"),
        ([75, 75], KILL, "growing"),
    ],
)
def test_exit_codes_of_a_run_that_was_killed(codes, number, phase):
    assert kill(codes, number=number, phase=phase).problem == ""


@pytest.mark.parametrize(
    ("codes", "phase", "problem"),
    [
        ([1], "step 3", "exit code 1, expected 75"),
        ([-signal.SIGTERM], "step 3", "exit code -15, expected 75"),
        ([-signal.SIGKILL], "step 3", "exit code -9, expected 75"),
        ([75, None], "growing", "a process was still running after 30 s"),
    ],
)
def test_other_exit_codes_are_problems(codes, phase, problem):
    assert kill(codes, phase=phase).problem == problem


@pytest.mark.parametrize(
    ("said", "phase"),
    [
        ("", "starting"),
        ("stage 1/2  compiling\n", "compiling"),
        ("stage 1/2  compiling\nstep 3/8  stage 1/2  loss 4.1\n", "step 3"),
        ("step 4/8  stage 1/2  loss 4.1\nstage 2/2  growing\n", "growing"),
        ("restored step 4, stage 0\n", "restored step 4"),
    ],
)
def test_the_last_line_says_where_a_run_was(said, phase):
    assert drill._phase(said) == phase


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kills", "0"], "--kills is 0; expected 1 or more"),
        (["--processes", "0"], "--processes is 0; expected 1 or more"),
        (["--config.log_every=5"], "--config.log_every=5: drill sets --config.log_every"),
    ],
)
def test_wrong_options_are_one_line(options, message, tmp_path, capsys):
    words = ["drill", "--config", RECIPE, "--workdir", str(tmp_path / "drill")]
    assert cli.main([*words, *options]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_of_an_earlier_drill_is_refused(tmp_path, capsys):
    assert cli.main(["drill", "--config", RECIPE, "--workdir", str(tmp_path)]) == 2
    assert "exists; give a folder that does not" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_survives_its_drill(store, tmp_path, capsys):
    words = ["drill", "--config", f"{RECIPE}:stopped", f"--config.data.store={store.folder}"]
    words += ["--kills", "3", "--workdir", str(tmp_path / "drill"), "--json"]

    assert cli.main(words) == 0

    result = json.loads(capsys.readouterr().out)
    assert result["passed"] and not result["differences"]
    assert {kill["signal"] for kill in result["kills"]} <= {TERM, KILL}
    assert len(result["kills"]) >= 2
