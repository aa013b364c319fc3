"""Tests of training arms one by one: skipped, continued, stopped and compared."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import synthetic
from synthetic import falling

from bertgrow import cli
from bertgrow.core import errors
from bertgrow.recipes import token_stores
from bertgrow.reporting import comparison
from bertgrow.run import arms, claim

RECIPE = Path(__file__).resolve().parents[1].joinpath("small_recipe.py")


def test_every_arm_gets_the_same_seeds_store_and_settings(store, tmp_path):
    overrides = [f"--config.data.store={store.folder}", "--config.log_every=5"]

    planned = arms.plan(
        [f"a={RECIPE}", f"b={RECIPE}:plain"], num_seeds=2, folder=tmp_path, overrides=overrides
    )

    assert [each.name for each in planned] == ["a-seed0", "b-seed0", "a-seed1", "b-seed1"]
    assert [each.recipe["seed"] for each in planned] == [0, 0, 1, 1]
    for each in planned:
        assert each.store == store.hash and each.recipe["log_every"] == 5
        assert set(overrides) < set(each.command)


def test_a_wrong_field_is_found_before_anything_is_trained(store, tmp_path):
    overrides = [f"--config.data.store={store.folder}", "--config.stages[1].steps=9"]

    with pytest.raises(errors.InputError, match="arm b: "):
        arms.plan([f"a={RECIPE}", f"b={RECIPE}:plain"], 1, tmp_path, overrides)


def test_arms_of_different_stores_are_refused(store, tmp_path, monkeypatch):
    def opened(recipe):
        return [SimpleNamespace(vocab=store.vocab, hash=f"of-{len(recipe.stages)}-stages")]

    monkeypatch.setattr(token_stores, "open_all", opened)

    with pytest.raises(errors.InputError, match="different token stores"):
        arms.plan([f"a={RECIPE}", f"b={RECIPE}:plain"], 1, tmp_path, [])


def planned(folder, script, recipe=None):
    """A run whose training is a few lines of Python."""
    recipe = recipe or {"seed": 0, "optimizer": {"name": "adamw", "peak_lr": 1e-3}}
    command = [sys.executable, "-c", script]
    return arms.Planned("arm", folder, recipe, "abc", command)


def run_all(*runs_to_do):
    return [each.name for each in arms.run_all(runs_to_do, resume="bertgrow compare X")]


def test_what_is_finished_is_skipped(tmp_path, capsys):
    synthetic.run(tmp_path / "done", losses=falling(1 / 400))

    names = run_all(planned(tmp_path / "done", "1 / 0"), planned(tmp_path / "new", "print(1)"))

    out = capsys.readouterr().out
    assert names == ["done", "new"]
    assert "done (1 of 2): finished already\nnew (2 of 2): training\nnew | 1\n" in out


def end_early(folder):
    (folder / "metrics.jsonl").write_text("")


def lose_last_save(folder):
    (folder / "checkpoints").mkdir()


def change_recipe(folder):
    synthetic.edit(folder, lambda config: config["recipe"]["optimizer"].update(peak_lr=1.0))


def change_store(folder):
    synthetic.edit(folder, lambda config: config["store"].update(hash="def"))


@pytest.mark.parametrize("undo", [end_early, lose_last_save, change_recipe, change_store])
def test_what_is_not_finished_or_another_run_is_left_to_pretrain(tmp_path, undo):
    folder = synthetic.run(tmp_path / "run", losses=falling(1 / 400))
    assert arms.is_finished(planned(folder, ""))

    undo(folder)

    assert not arms.is_finished(planned(folder, ""))


def test_a_finished_run_may_lack_its_checkpoints_or_have_them_all(tmp_path):
    folder = synthetic.run(tmp_path / "run", losses=falling(1 / 400))
    (folder / "checkpoints" / "checksums").mkdir(parents=True)
    (folder / "checkpoints" / "checksums" / "800.json").touch()

    assert arms.is_finished(planned(folder, ""))


@pytest.mark.parametrize(
    "script, error, words",
    [
        ("raise SystemExit(75)", errors.Stopped, "continue with: bertgrow compare X"),
        ("print('no store'); raise SystemExit(2)", errors.InputError, "code 2.*: no store$"),
        ("print(4); print(5); raise SystemExit(1)", errors.CheckFailed, "code 1.*: 4 | 5$"),
        ("import os; os.kill(os.getpid(), 9)", errors.CheckFailed, "killed by SIGKILL"),
    ],
)
def test_a_run_that_does_not_finish_ends_the_comparison(tmp_path, script, error, words):
    with pytest.raises(error, match=f"^bad .*{words}"):
        run_all(planned(tmp_path / "bad", script), planned(tmp_path / "next", "1 / 0"))


OBEYS = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: (print("saved"), os._exit(CODE)))
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(60)
"""


@pytest.mark.parametrize("code, words", [("75", "stopped early"), ("0", "stopped after first")])
def test_a_signal_is_passed_on_and_ends_the_comparison(tmp_path, capsys, code, words):
    before = signal.getsignal(signal.SIGTERM)
    first = planned(tmp_path / "first", OBEYS.replace("CODE", f"print(flush=True) or {code}"))

    with pytest.raises(errors.Stopped, match=f"{words}.*continue with: bertgrow compare X"):
        run_all(first, planned(tmp_path / "second", "1 / 0"))

    assert "first | saved" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == before


def test_results_are_there_after_every_run(tmp_path, monkeypatch, capsys):
    """The second arm fails; of the first there is a page already."""
    full = synthetic.run(tmp_path / "full-seed0", losses=falling(1 / 400))
    todo = [planned(full, ""), planned(tmp_path / "fast-seed0", "raise SystemExit(1)")]
    monkeypatch.setattr(arms, "plan", lambda *_: todo)

    code = cli.main(["compare", "--arms", "full=x", "fast=y", "--workdir", str(tmp_path)])

    assert code == 1 and "fast-seed0 ended with exit code 1" in capsys.readouterr().err
    assert [(tmp_path / name).exists() for name in comparison.FILES] == [True] * 3


def test_of_two_comparisons_in_one_folder_the_second_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(arms, "plan", lambda *_: [planned(tmp_path / "run", "1 / 0")])

    with claim.claim(tmp_path):
        code = cli.main(["compare", "--arms", "a=x", "b=y", "--workdir", str(tmp_path)])

    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert f"another run writes in {tmp_path}" in error


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_three_arms_are_trained_stopped_continued_and_compared(store, tmp_path):
    workdir = tmp_path / "arms"
    (tmp_path / "bertgrow").mkdir()  # as beside a clone: not the package
    command = [sys.executable, "-P", "-m", "bertgrow", "compare", "--arms"]
    command += [f"full={RECIPE}:plain", f"grown={RECIPE}:short", f"again={RECIPE}:short"]
    command += ["--config.eval.rows=32", f"--config.data.store={store.folder}"]
    command += ["--seeds", "1", "--workdir", str(workdir)]
    begin = dict(cwd=tmp_path, text=True)

    with subprocess.Popen(command, stderr=subprocess.PIPE, **begin) as stopped:
        lines = []
        for line in stopped.stderr:
            lines.append(line)
            if line.startswith("grown-seed0 |") and "held-out" in line:
                stopped.terminate()
    assert stopped.returncode == 75, lines
    assert f"--workdir {workdir}" in lines[-1]

    done = subprocess.run(command, capture_output=True, **begin)
    assert done.returncode == 0, done.stderr
    assert "full-seed0 (1 of 3): finished already" in done.stderr
    assert "grown-seed0 | restored step" in done.stderr
    assert "grown against full: plateau not left, no conclusion" in done.stdout
    assert "again: final mask_loss" in done.stdout
    results = json.loads((workdir / "compare.json").read_text())["arms"]
    curves = [
        [(row["step"], row["mask_loss"]) for row in each["runs"][0]["evaluations"]]
        for each in results
    ]
    assert curves[1] == curves[2]  # the same rows and masks, stopped or not
    assert [each["runs"][0]["is_finished"] for each in results] == [True] * 3

    saved = {path: path.read_bytes() for path in workdir.rglob("metrics.jsonl")}
    again = subprocess.run(command, capture_output=True, **begin)
    assert again.returncode == 0 and again.stderr.count("finished already") == 3
    assert saved == {path: path.read_bytes() for path in workdir.rglob("metrics.jsonl")}
