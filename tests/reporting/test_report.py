"""Tests of `bertgrow report`: its table, its JSON and its self-contained page."""

import io
import json
import re
import xml.etree.ElementTree

import pytest
import synthetic
from reports import Tags, report_on
from synthetic import falling

from bertgrow.core import errors
from bertgrow.reporting import report_page, summary, table
from bertgrow.run import records


def test_the_table_is_aligned_text_in_a_pipe(pair, capsys):
    assert report_on(*pair) == 0

    header, scratch, grow, named, verdict, path = capsys.readouterr().out.splitlines()
    assert re.split(r"  +", header) == list(summary.HEADER)
    assert len(header) == len(scratch) == len(grow)
    assert scratch.split()[:7] == ["scratch", "800/800", "1.2", "M", "3.000", "5.000", "yes"]
    assert named == "baseline: scratch (named first)"
    assert verdict.startswith("grow against scratch: speed-up 5.33x in FLOPs, 2.00x in time")
    assert path == f"report: {pair[0] / 'report.html'}"


def test_the_table_is_drawn_on_a_terminal(pair):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    file = Terminal()
    table.show(summary.summary(records.read_all(pair)), file=file)

    assert "\x1b[1m" in file.getvalue() and "speed-up 5.33x in FLOPs" in file.getvalue()


def test_the_table_says_which_runs_are_past_the_plateau(tmp_path):
    losses = {"on": 4.51, "past": 4.5}  # the unigram cross-entropy is 5
    folders = [synthetic.run(tmp_path / n, losses=lambda _, x=x: x) for n, x in losses.items()]

    header, rows = summary.table(summary.summary(records.read_all(folders)))

    column = header.index("past plateau")
    assert [row[column] for row in rows] == ["no", "yes"]


def test_any_run_can_be_the_baseline(pair, capsys):
    assert report_on(*pair, "--baseline", "grow", "--json") == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["baseline"] == {"name": "grow", "reason": "--baseline"}
    assert printed["report"] == str(pair[0] / "report.html")
    grow, scratch = printed["arms"]
    assert grow["against_first"] is None and scratch["name"] == "scratch"
    assert "baseline: grow (--baseline)" in (pair[0] / "report.html").read_text()


def test_an_unknown_baseline_is_refused_with_the_nearest_name(pair):
    with pytest.raises(errors.InputError, match="grow.*did you mean grow") as caught:
        report_on(*pair, "--baseline", "grown")

    assert "\n" not in str(caught.value) and not (pair[0] / "report.html").exists()


def test_stages_are_drawn_only_where_a_run_has_several(pair):
    for folders, num in ((pair[:1], 0), (pair, 2)):
        read = records.read_all(folders)
        page = report_page.page(read, summary.summary(read))
        assert page.count('class="skyline"') == num
        assert "1 stage, 800 steps, 3.2 TFLOP" in page


def test_json_is_one_object_with_the_same_figures(pair, capsys):
    assert report_on(*pair, "--json") == 0

    printed = json.loads(capsys.readouterr().out)
    scratch, grow = printed["arms"]
    assert scratch["mask_loss"] == 3.0 and scratch["against_first"] is None
    assert grow["against_first"]["speed_up"]["tokens"] == pytest.approx(2.0)


def test_json_has_null_where_a_loss_is_not_a_number(tmp_path, capsys):
    folder = synthetic.run(tmp_path / "diverged", losses=lambda step: float("nan"))

    report_on(folder, "--json")

    assert json.loads(capsys.readouterr().out)["arms"][0]["mask_loss"] is None


def test_the_page_is_well_formed_and_loads_nothing(pair):
    report_on(*pair)
    page = (pair[0] / "report.html").read_text(encoding="utf-8")

    tags = Tags()
    tags.feed(page)
    assert not tags.wrong and not tags.open and not tags.loads
    assert not re.search(r"https?://|@import|url\(|<script", page)
    for drawing in re.findall(r"<svg.*?</svg>(?:\n</svg>)?", page, re.DOTALL):
        xml.etree.ElementTree.fromstring(drawing)


def test_the_page_shows_stages_certificates_recipe_and_versions(pair):
    read = records.read_all(pair)
    page = report_page.page(read, summary.summary(read))

    for shown in (
        "grow 0-1 at step 200",
        "2.1e-06",
        "mlp 256 -&gt; 512",
        "2.5 MB",
        "parameters 600 k → 1.2 M",
        "loss 4.5 → 4.81",
        "up/kernel",
    ):
        assert shown in page
    for shown in ("optimizer.peak_lr", "unigram 5.00", "5.33x", "compute (TFLOP)", "jax"):
        assert shown in page
    assert page.count('<span class="changed">') == 4  # layers, then mlp, pool and length
    assert "what differs" not in page


def test_the_page_says_where_recipes_differ(tmp_path):
    folders = [
        synthetic.run(tmp_path / name, losses=falling(1 / 400), seed=seed)
        for seed, name in enumerate(["a", "b"])
    ]

    report_on(*folders)

    page = (folders[0] / "report.html").read_text()
    (different,) = re.findall(r"Recipe: what differs</h3>\n(.*?)\n", page)
    assert "seed" in different and "peak_lr" not in different


def test_a_claim_that_does_not_hold_stands_out(pair):
    path = pair[1] / "growth" / "0-1.json"
    certificate = json.loads(path.read_text())
    certificate["rows"][1] |= {"holds": False}
    path.write_text(json.dumps(certificate))

    report_on(*pair)

    page = (pair[0] / "report.html").read_text()
    assert '<span class="bad">no</span>' in page


@pytest.mark.parametrize(
    "certificate",
    [
        {},
        {"rows": []},
        {"rows": [{}]},
        {"rows": [{"operator": "new", "unheard": [1]}], "of": {"x": None}},
    ],
)
def test_certificates_may_lack_fields_and_have_others(pair, certificate):
    (pair[1] / "growth" / "0-1.json").write_text(json.dumps(certificate))

    report_on(*pair)

    page = (pair[0] / "report.html").read_text()
    assert ("no weight changes" in page) == (certificate == {"rows": []})
    assert ("unheard" in page) == ("of" in certificate) == ("of.x" in page)


def test_names_are_text_and_never_markup(tmp_path):
    folder = synthetic.run(tmp_path / "<b>&", losses=falling(1 / 400))

    report_on(folder)

    page = (folder / "report.html").read_text()
    assert "&lt;b&gt;&amp;" in page and "<b>&" not in page


@pytest.mark.parametrize("until", [-1, 0, 5, 250, 800])
def test_a_run_can_be_reported_at_any_time(tmp_path, until):
    folder = synthetic.run(
        tmp_path / "run", synthetic.GROWN, losses=falling(1 / 400), until=until
    )

    assert report_on(folder) == 0
