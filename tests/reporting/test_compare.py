"""Tests of `bertgrow compare` on finished runs: baseline, files and errors."""

import json
import re
import xml.etree.ElementTree

import pytest
import synthetic
from reports import Tags, arm
from synthetic import falling

from bertgrow import cli


def test_one_seed_has_no_interval_and_says_so(arms, capsys):
    assert cli.main(["compare", str(arms[0][0]), str(arms[1][0])]) == 0

    out = capsys.readouterr().out
    assert "speed-up 2.00x in FLOPs" in out and "[" not in out.split("written")[0]
    assert "fast: a single seed, so there is no interval" in out


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


def test_the_baseline_of_a_folder_is_the_arm_that_costs_most_a_step(tmp_path, capsys):
    arm(tmp_path, "grown", [falling(1 / 200)], synthetic.GROWN)
    arm(tmp_path, "scratch", [falling(1 / 400)])

    assert cli.main(["compare", str(tmp_path)]) == 0
    assert cli.main(["compare", str(tmp_path)]) == 0
    assert (
        cli.main(["compare", str(tmp_path / "grown-seed0"), str(tmp_path / "scratch-seed0")])
        == 0
    )

    said = [line for line in capsys.readouterr().out.splitlines() if "baseline:" in line]
    assert said == [
        "baseline: scratch (costs most a step: 4 GFLOP)",
        f"baseline: scratch (first in {tmp_path / 'compare.json'})",
        "baseline: grown (named first)",
    ]


def test_a_baseline_can_be_named(arms, tmp_path, capsys):
    assert cli.main(["compare", str(tmp_path), "--baseline", "full", "--json"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert [arm["name"] for arm in printed["arms"]] == ["full", "fast"]
    assert printed["baseline"] == {"name": "full", "reason": "--baseline"}
    assert "baseline: full (--baseline)" in (tmp_path / "compare.html").read_text()


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

    folders = ["full-seed0", "results/../fast-seed0"]
    (tmp_path / "results").mkdir()
    assert cli.main(["compare", *folders, "--workdir", "results/of/today", "--json"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert [run["folder"] for arm in printed["arms"] for run in arm["runs"]] == folders


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
        (["/nowhere"], "is no working directory"),
        (["RUN", "--baseline", "RUM"], "expected one of RUN; did you mean RUN?"),
        (
            ["--arms", "a=x.py", "full=x.py", "--workdir", "W", "--baseline", "ful"],
            "expected one of a, full; did you mean full?",
        ),
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
