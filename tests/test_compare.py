"""Arms are trained one by one, and compared over their seeds where that means something."""

import json
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path
from types import SimpleNamespace

import pytest
import synthetic
from test_report import Tags, falling

from bertgrow import cli, compare, compare_runs, errors, pretrain, runs, seeds

RECIPE = Path(__file__).with_name("recipes.py")


def arm(folder, name, losses, stages=synthetic.WHOLE, first_seed=0, **more):
    """One synthetic run a loss, as seeds of one arm."""
    return [
        synthetic.run(folder / f"{name}-seed{s}", stages, losses=loss, seed=s, **more)
        for s, loss in enumerate(losses, start=first_seed)
    ]


def compared(*folders):
    return seeds.compare(seeds.group(runs.read_all(folders)))


@pytest.fixture
def arms(tmp_path):
    """A baseline that falls to 3 with either seed, and an arm that falls to 1 or to 0."""
    full = arm(tmp_path, "full", [falling(1 / 400)] * 2)
    return full, arm(tmp_path, "fast", [falling(1 / 200), falling(1 / 160)])


def test_speed_up_is_that_of_the_mean_curves(arms):
    _, fast = compared(*arms[0], *arms[1])

    # Loss 3 after 800 steps, and 2 / ((1/200 + 1/160) / 2) = 355.6: 2.25 is (2 + 2.5) / 2.
    equal = fast.arm.against_first
    assert equal.mask_loss == pytest.approx(3.0)
    assert equal.speed_up == pytest.approx({"flops": 2.25, "seconds": 2.25, "tokens": 2.25})
    assert [fast.pairs[s].speed_up["tokens"] for s in (0, 1)] == pytest.approx([2.0, 2.5])


def test_the_interval_of_two_seeds_reaches_from_one_to_the_other(arms):
    _, fast = compared(*arms[0], *arms[1])

    # Each seed alone is a quarter of the draws.
    assert fast.arm.against_first.intervals["flops"] == pytest.approx((2.0, 2.5))
    assert fast.final.difference == pytest.approx(-2.5)
    assert fast.final.interval == pytest.approx((-3.0, -2.0))
    assert fast.is_paired and fast.inconclusive == 0


def test_the_interval_is_the_same_every_time(tmp_path):
    folders = arm(tmp_path, "full", [falling(1 / n) for n in (400, 410, 430, 460)])
    folders += arm(tmp_path, "fast", [falling(1 / n) for n in (200, 230, 210, 290)])

    once, again = (compared(*folders)[1].arm.against_first for _ in range(2))

    assert once.intervals == again.intervals
    low, high = once.intervals["tokens"]
    assert low < once.speed_up["tokens"] < high


@pytest.mark.parametrize("first_seed, interval", [(0, (-0.5, -0.5)), (7, (-0.9, -0.1))])
def test_seeds_are_drawn_in_pairs_only_where_both_arms_have_them(
    tmp_path, first_seed, interval
):
    """The second seed is 0.4 harder in both arms; only pairs know that."""

    def shifted(start):
        return [lambda step: start - step / 400, lambda step: start + 0.4 - step / 400]

    full = arm(tmp_path, "full", shifted(5.0))
    better = arm(tmp_path, "better", shifted(4.5), first_seed=first_seed)

    _, result = compared(*full, *better)

    assert result.is_paired == (first_seed == 0)
    assert result.final.difference == pytest.approx(-0.5)
    assert result.final.interval == pytest.approx(interval)


def test_one_seed_has_no_interval_and_says_so(arms, capsys):
    assert cli.main(["compare", str(arms[0][0]), str(arms[1][0])]) == 0

    out = capsys.readouterr().out
    assert "speed-up 2.00x in FLOPs" in out and "[" not in out.split("written")[0]
    assert "fast: a single seed, so nothing is known about chance" in out


def test_a_mean_ends_where_the_last_seed_has_come(tmp_path):
    full = arm(tmp_path, "full", [falling(1 / 400)] * 2)
    late = synthetic.run(tmp_path / "late-seed0", losses=falling(1 / 200), until=500, seed=0)
    whole = synthetic.run(tmp_path / "late-seed1", losses=falling(1 / 200), seed=1)

    _, result = compared(*full, late, whole)

    assert result.arm.step == 500
    assert result.final.reasons == ["late-seed0 is at step 500 of 800"]
    assert result.final.difference is None


def test_on_the_plateau_there_is_no_conclusion(tmp_path, capsys):
    """Half a nat is asked for: 4.5 of 5.0 is enough, 4.51 is not."""
    for loss in (4.51, 4.5):
        folder = tmp_path / str(loss)
        arm(folder, "full", [lambda step, end=loss: 5.0 if step < 800 else end] * 2)
        arm(folder, "fast", [falling(1 / 400)] * 2)
        assert (
            cli.main(["compare", str(folder / "full-seed0"), str(folder / "fast-seed0")]) == 0
        )

    on, off = capsys.readouterr().out.split("compare.html\n")[:2]
    assert "fast against full: plateau not left, no conclusion" in on
    assert "not comparable with full: plateau not left" in on
    assert "fast against full: speed-up" in off


def test_draws_without_a_conclusion_are_counted(tmp_path):
    full = arm(tmp_path, "full", [lambda step: 4.6 if step else 5.0, falling(1 / 400)])
    fast = arm(tmp_path, "fast", [falling(1 / 200)] * 2)

    _, result = compared(*full, *fast)

    # The mean 3.8 has left the plateau, the first seed alone (a quarter of draws) has not.
    assert result.inconclusive == pytest.approx(0.25, abs=0.04)  # 2000 draws: 4 deviations
    assert result.arm.against_first.speed_up


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"store": "def"}, "the token stores differ"),
        (
            {"stages": [{**synthetic.WHOLE[0], "length": 32}]},
            "final length differs (64 and 32)",
        ),
        ({"stages": [{**synthetic.WHOLE[0], "layers": 2}]}, "final layers differs (4 and 2)"),
        ({"until": 700}, "other is at step 700 of 800"),
    ],
)
def test_final_losses_compare_only_of_like_models_on_like_rows(tmp_path, change, reason):
    first = synthetic.run(tmp_path / "first", losses=falling(1 / 400))
    other = synthetic.run(tmp_path / "other", **{"losses": falling(1 / 400), **change})

    _, result = compared(first, other)

    assert any(reason in words for words in result.final.reasons)
    assert result.final.difference is None


def test_final_losses_of_other_held_out_rows_do_not_compare(tmp_path):
    folders = [synthetic.run(tmp_path / n, losses=falling(1 / 400)) for n in ("a", "b")]
    for folder, rows in zip(folders, (32, 64), strict=True):
        evaluation = {"rows": rows, "every": rows}
        edit(folder, lambda config, new=evaluation: config["recipe"].update(eval=new))

    _, result = compared(*folders)

    assert result.final.reasons == ["evaluated with another config.eval.rows (32 and 64)"]


def edit(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def test_seeds_of_an_arm_may_differ_in_nothing_else(arms):
    edit(arms[1][1], lambda config: config["recipe"]["optimizer"].update(peak_lr=2e-3))

    with pytest.raises(errors.InputError, match="peak_lr=0.001.*0.002; only the seed may"):
        compared(*arms[0], *arms[1])


def test_a_seed_may_be_given_once(arms):
    edit(arms[1][1], lambda config: config["recipe"].update(seed=0))

    with pytest.raises(errors.InputError, match="both have config.seed=0"):
        compared(*arms[0], *arms[1])


def test_a_folder_is_read_in_the_order_of_its_last_comparison(arms, tmp_path, capsys):
    def names():
        printed = json.loads(capsys.readouterr().out)
        return [arm["name"] for arm in printed["arms"]]

    assert cli.main(["compare", str(tmp_path), "--json"]) == 0
    assert names() == ["fast", "full"]  # nothing known: by name
    assert cli.main(["compare", str(arms[0][0]), "--json", *map(str, arms[1])]) == 0
    assert names() == ["full", "fast"]
    assert cli.main(["compare", str(tmp_path), "--json"]) == 0
    assert names() == ["full", "fast"]


def test_json_holds_the_figures_and_the_curves_behind_them(arms, tmp_path, capsys):
    assert cli.main(["compare", *map(str, [*arms[0], *arms[1]]), "--json"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "compare.json").read_text())
    full, fast = printed["arms"]
    assert full["against_first"] is None and fast["seeds"] == [0, 1]
    assert fast["against_first"]["speed_up"]["tokens"] == pytest.approx(2.25)
    assert fast["against_first"]["intervals"]["tokens"] == pytest.approx([2.0, 2.5])
    assert fast["against_first"]["by_seed"]["1"]["speed_up"]["flops"] == pytest.approx(2.5)
    assert fast["final"]["losses"] == pytest.approx([1.0, 0.0])
    (last,) = [row for row in fast["runs"][1]["evaluations"] if row["step"] == 800]
    assert last["mask_loss"] == pytest.approx(0.0) and last["tokens"] == 800_000
    assert str(tmp_path) not in json.dumps(printed)  # it can be moved and committed


def test_runs_outside_of_the_results_are_named_as_they_were_given(
    arms, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)

    given = ["full-seed0", "results/../fast-seed0"]
    (tmp_path / "results").mkdir()
    assert cli.main(["compare", *given, "--workdir", "results/of/today", "--json"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert [run["folder"] for arm in printed["arms"] for run in arm["runs"]] == given


def test_the_page_and_the_picture_stand_alone(tmp_path):
    arm(tmp_path, "full", [falling(1 / 400)] * 3)
    arm(tmp_path, "a<b", [falling(1 / 200)] * 3, synthetic.GROWN)

    assert cli.main(["compare", str(tmp_path)]) == 0

    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert not tags.wrong and not tags.open and not tags.loads
    assert not re.search(r"https?://|@import|url\(|<script|a<b", page)
    for shown in ("a&lt;b", "Seeds", "a single seed", "paired by seed", "Growth certificates"):
        assert shown in page
    picture = xml.etree.ElementTree.parse(tmp_path / "compare.svg").getroot()
    words = ["".join(text.itertext()) for text in picture.findall(".//{*}text")]
    assert {"compute (TFLOP)", "time (min)", "a<b", "full"} <= set(words)
    marks = [p for p in picture.findall(".//{*}path") if p.get("class", "").startswith("mark")]
    assert len(marks) == 4  # two growths in each of two charts


def test_a_curve_that_never_leaves_the_plateau_is_still_drawn(tmp_path):
    for name in ("full", "fast"):
        synthetic.run(tmp_path / name, losses=lambda step: 6.0 - step / 4000)

    assert cli.main(["compare", str(tmp_path)]) == 0

    picture = xml.etree.ElementTree.parse(tmp_path / "compare.svg").getroot()
    heights = [float(dot.get("cy")) for dot in picture.findall(".//{*}circle")]
    assert heights and all(30 <= y <= 265 - 38 for y in heights)  # inside the chart's frame


def test_runs_that_have_only_begun_can_be_compared(tmp_path):
    for name in ("full", "fast"):
        synthetic.run(tmp_path / name, losses=falling(1 / 400), until=-1)

    assert cli.main(["compare", str(tmp_path)]) == 0

    xml.etree.ElementTree.parse(tmp_path / "compare.svg")


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "give --arms to train, or working directories"),
        (["RUN", "--seeds", "2"], "give --arms to train, or working directories"),
        (["RUN", "--config.seed=1"], "goes with --arms only"),
        (["/nowhere"], "is not a working directory"),
        (["--arms", "a=x.py", "b=x.py"], "needs --workdir"),
        (["RUN", "--arms", "a=x.py", "b=x.py"], "either trained or read"),
        (["--arms", "a=x.py", "--workdir", "W"], "names one arm"),
        (["--arms", "a=x.py", "x.py", "--workdir", "W"], "expected NAME=FILE"),
        (["--arms", "a/b=x.py", "c=x.py", "--workdir", "W"], "expected NAME=FILE"),
        (["--arms", "a=x.py", "a=y.py", "--workdir", "W"], "'a' twice"),
        (["--arms", "a=x.py", "b=x.py", "--workdir", "W"], "arm a: --config names 'x.py'"),
        (["--arms", "a=x.py", "b=x.py", "--workdir", "W", "--seeds", "0"], "--seeds is 0"),
        (["--arms", "a=x", "b=y", "--workdir", "W", "--config.seed=4"], "give --seeds N"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    synthetic.run(tmp_path / "RUN", losses=falling(1 / 400))

    assert cli.main(["compare", *words]) == 2

    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_every_arm_gets_the_same_seeds_store_and_settings(store, tmp_path):
    given = [f"--config.data.store={store.folder}", "--config.log_every=5"]

    planned = compare_runs.plan(
        [f"a={RECIPE}", f"b={RECIPE}:plain"], num_seeds=2, folder=tmp_path, given=given
    )

    assert [each.name for each in planned] == ["a-seed0", "b-seed0", "a-seed1", "b-seed1"]
    assert [each.recipe["seed"] for each in planned] == [0, 0, 1, 1]
    for each in planned:
        assert each.store == store.hash and each.recipe["log_every"] == 5
        assert set(given) < set(each.command)


def test_a_wrong_field_is_found_before_anything_is_trained(store, tmp_path):
    given = [f"--config.data.store={store.folder}", "--config.stages[1].steps=9"]

    with pytest.raises(errors.InputError, match="arm b: "):
        compare_runs.plan([f"a={RECIPE}", f"b={RECIPE}:plain"], 1, tmp_path, given)


def test_arms_of_different_stores_are_refused(store, tmp_path, monkeypatch):
    def opened(recipe):
        return [SimpleNamespace(vocab=store.vocab, hash=f"of-{len(recipe.stages)}-stages")]

    monkeypatch.setattr(pretrain, "open_stores", opened)

    with pytest.raises(errors.InputError, match="different token stores"):
        compare_runs.plan([f"a={RECIPE}", f"b={RECIPE}:plain"], 1, tmp_path, [])


def planned(folder, script, recipe=None):
    """A run whose training is a few lines of Python."""
    recipe = recipe or {"seed": 0, "optimizer": {"name": "adamw", "peak_lr": 1e-3}}
    command = [sys.executable, "-c", script]
    return compare_runs.Planned("arm", folder, recipe, "abc", command)


def run_all(*runs_to_do):
    return [each.name for each in compare_runs.run_all(runs_to_do, resume="bertgrow compare X")]


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
    edit(folder, lambda config: config["recipe"]["optimizer"].update(peak_lr=1.0))


def change_store(folder):
    edit(folder, lambda config: config["store"].update(hash="def"))


@pytest.mark.parametrize("undo", [end_early, lose_last_save, change_recipe, change_store])
def test_what_is_not_finished_or_another_run_is_left_to_pretrain(tmp_path, undo):
    folder = synthetic.run(tmp_path / "run", losses=falling(1 / 400))
    assert compare_runs.is_finished(planned(folder, ""))

    undo(folder)

    assert not compare_runs.is_finished(planned(folder, ""))


def test_a_finished_run_may_lack_its_checkpoints_or_have_them_all(tmp_path):
    folder = synthetic.run(tmp_path / "run", losses=falling(1 / 400))
    (folder / "checkpoints" / "checksums").mkdir(parents=True)
    (folder / "checkpoints" / "checksums" / "800.json").touch()

    assert compare_runs.is_finished(planned(folder, ""))


@pytest.mark.parametrize(
    "script, error, said",
    [
        ("raise SystemExit(75)", errors.Stopped, "continue with: bertgrow compare X"),
        ("print('no store'); raise SystemExit(2)", errors.InputError, "code 2.*: no store$"),
        ("print(4); print(5); raise SystemExit(1)", errors.CheckFailed, "code 1.*: 4 | 5$"),
        ("import os; os.kill(os.getpid(), 9)", errors.CheckFailed, "killed by SIGKILL"),
    ],
)
def test_a_run_that_does_not_finish_ends_the_comparison(tmp_path, script, error, said):
    with pytest.raises(error, match=f"^bad .*{said}"):
        run_all(planned(tmp_path / "bad", script), planned(tmp_path / "next", "1 / 0"))


OBEYS = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: (print("saved"), os._exit(CODE)))
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(60)
"""


@pytest.mark.parametrize("code, said", [("75", "stopped early"), ("0", "stopped after first")])
def test_a_signal_is_passed_on_and_ends_the_comparison(tmp_path, capsys, code, said):
    before = signal.getsignal(signal.SIGTERM)
    first = planned(tmp_path / "first", OBEYS.replace("CODE", f"print(flush=True) or {code}"))

    with pytest.raises(errors.Stopped, match=f"{said}.*continue with: bertgrow compare X"):
        run_all(first, planned(tmp_path / "second", "1 / 0"))

    assert "first | saved" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == before


def test_results_are_there_after_every_run(tmp_path, monkeypatch, capsys):
    """The second arm fails; of the first there is a page already."""
    full = synthetic.run(tmp_path / "full-seed0", losses=falling(1 / 400))
    todo = [planned(full, ""), planned(tmp_path / "fast-seed0", "raise SystemExit(1)")]
    monkeypatch.setattr(compare_runs, "plan", lambda *_: todo)

    code = cli.main(["compare", "--arms", "full=x", "fast=y", "--workdir", str(tmp_path)])

    assert code == 1 and "fast-seed0 ended with exit code 1" in capsys.readouterr().err
    assert [(tmp_path / name).exists() for name in compare.FILES] == [True] * 3


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_three_arms_are_trained_stopped_continued_and_compared(store, tmp_path):
    workdir = tmp_path / "arms"
    command = [sys.executable, "-m", "bertgrow", "compare", "--arms"]
    command += [f"full={RECIPE}:plain", f"grown={RECIPE}", f"again={RECIPE}"]
    command += ["--config.eval.rows=32", f"--config.data.store={store.folder}"]
    command += ["--seeds", "1", "--workdir", str(workdir)]
    variables = dict(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "compiled"), JAX_PLATFORMS="cpu")
    variables |= dict(JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0", PJRT_NPROC="2")
    begin = dict(env=os.environ | variables, cwd=RECIPE.parents[1], text=True)

    with subprocess.Popen(command, stderr=subprocess.PIPE, **begin) as stopped:
        said = []
        for line in stopped.stderr:
            said.append(line)
            if line.startswith("grown-seed0 |") and "held-out" in line:
                stopped.terminate()
    assert stopped.returncode == 75, said
    assert f"--workdir {workdir}" in said[-1]

    done = subprocess.run(command, capture_output=True, **begin)
    assert done.returncode == 0, done.stderr
    assert "full-seed0 (1 of 3): finished already" in done.stderr
    assert "grown-seed0 | restored step" in done.stderr
    assert "grown against full: plateau not left, no conclusion" in done.stdout
    assert "again: final mask_loss" in done.stdout
    found = json.loads((workdir / "compare.json").read_text())["arms"]
    curves = [
        [(row["step"], row["mask_loss"]) for row in each["runs"][0]["evaluations"]]
        for each in found
    ]
    assert curves[1] == curves[2]  # the same rows and masks, stopped or not
    assert [each["runs"][0]["is_finished"] for each in found] == [True] * 3

    kept = {path: path.read_bytes() for path in workdir.rglob("metrics.jsonl")}
    again = subprocess.run(command, capture_output=True, **begin)
    assert again.returncode == 0 and again.stderr.count("finished already") == 3
    assert kept == {path: path.read_bytes() for path in workdir.rglob("metrics.jsonl")}
