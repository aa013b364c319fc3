"""Tests of reports: runs in any state, self-contained pages, comparable runs only."""

import argparse
import html.parser
import io
import json
import re
import xml.etree.ElementTree

import pytest
import synthetic
from synthetic import falling

from bertgrow.commands import report
from bertgrow.core import errors
from bertgrow.reporting import chart, curves, report_page, summary, table
from bertgrow.run import records


@pytest.fixture
def arms(tmp_path):
    """A baseline that falls to 3, and a grown run that falls twice as fast."""
    scratch = synthetic.run(tmp_path / "scratch", losses=falling(1 / 400))
    grown = synthetic.run(tmp_path / "grow", synthetic.GROWN, losses=falling(1 / 200))
    return scratch, grown


def command(*words):
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    return report.main(parser.parse_args([str(word) for word in words]))


def compare(first, other):
    return summary.equal_loss(records.read(first), records.read(other))


def test_speed_up_is_taken_where_both_runs_reach_the_worse_final_loss(arms):
    equal = compare(*arms)

    # Loss 3: 800 steps of 4 GFLOP against 200 of 1 and 200 of 2 GFLOP.
    assert equal.mask_loss == pytest.approx(3.0)
    assert equal.speed_up == pytest.approx({"flops": 3200 / 600, "seconds": 2.0, "tokens": 2.0})
    assert not equal.is_bound and not equal.obstacle


def test_speed_up_is_the_same_question_asked_from_either_side(tmp_path):
    fast = synthetic.run(tmp_path / "fast", losses=falling(1 / 200))
    slow = synthetic.run(tmp_path / "slow", losses=falling(1 / 390))

    there, back = compare(slow, fast).speed_up, compare(fast, slow).speed_up

    assert there["tokens"] == pytest.approx(390 / 200)  # between two evaluations
    assert back == pytest.approx({name: 1 / ratio for name, ratio in there.items()})


def test_a_loss_that_growth_lost_again_was_not_reached(tmp_path):
    scratch = synthetic.run(tmp_path / "scratch", losses=falling(1 / 400))
    spiked = synthetic.run(
        tmp_path / "spiked", losses=lambda step: 2.0 if step in (300, 800) else 4.0
    )

    # Down at 300, up at 400, and from 4 at 700 to 2 at 800: loss 3 is reached at 750.
    assert compare(scratch, spiked).other["tokens"] == pytest.approx(750_000)


def test_a_run_first_evaluated_below_the_loss_gives_a_bound(tmp_path):
    scratch = synthetic.run(tmp_path / "scratch", losses=falling(1 / 400))
    grown = synthetic.run(tmp_path / "grow", synthetic.GROWN, losses=falling(1 / 150))

    equal = compare(scratch, grown)

    assert equal.is_bound and equal.speed_up["tokens"] == pytest.approx(2.0)
    read = records.read_all([scratch, grown])
    assert "at least" in dict(summary.verdicts(summary.summary(read)))["grow against scratch"]
    assert "was first evaluated below" in compare(grown, scratch).obstacle


def test_on_the_plateau_nothing_is_concluded(tmp_path):
    plateau = synthetic.run(tmp_path / "plateau", losses=lambda step: 4.51)
    left = synthetic.run(tmp_path / "left", losses=falling(1 / 400))

    assert compare(plateau, left).obstacle == "plateau not left, no conclusion"
    assert compare(left, plateau).obstacle == "plateau not left, no conclusion"
    claims = [a.has_left_plateau for a in summary.summary(records.read_all([plateau, left]))]
    assert claims == [False, True]


@pytest.mark.parametrize(
    "other, obstacle",
    [
        ({"store": "def"}, "different token stores"),
        ({"stages": synthetic.GROWN, "until": 300}, "rows of 64 and 32 tokens"),
        ({"until": -1}, "not evaluated yet"),
        ({"losses": lambda step: float("nan")}, "diverged"),
    ],
)
def test_unlike_runs_are_not_compared(tmp_path, other, obstacle):
    first = synthetic.run(tmp_path / "first", losses=falling(1 / 400))
    second = synthetic.run(tmp_path / "second", **{"losses": falling(1 / 400), **other})

    equal = compare(first, second)

    assert obstacle in equal.obstacle and equal.speed_up == {}
    assert command(first, second) == 0


def test_the_table_is_aligned_text_in_a_pipe(arms, capsys):
    assert command(*arms) == 0

    header, scratch, grow, named, verdict, path = capsys.readouterr().out.splitlines()
    assert re.split(r"  +", header) == list(summary.HEADER)
    assert len(header) == len(scratch) == len(grow)
    assert scratch.split()[:7] == ["scratch", "800/800", "1.2", "M", "3.000", "5.000", "yes"]
    assert named == "baseline: scratch (named first)"
    assert verdict.startswith("grow against scratch: speed-up 5.33x in FLOPs, 2.00x in time")
    assert path == f"report: {arms[0] / 'report.html'}"


def test_the_table_is_drawn_on_a_terminal(arms):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    file = Terminal()
    table.show(summary.summary(records.read_all(arms)), file=file)

    assert "\x1b[1m" in file.getvalue() and "speed-up 5.33x in FLOPs" in file.getvalue()


def test_the_table_says_which_runs_are_past_the_plateau(tmp_path):
    losses = {"on": 4.51, "past": 4.5}  # the unigram cross-entropy is 5
    folders = [synthetic.run(tmp_path / n, losses=lambda _, x=x: x) for n, x in losses.items()]

    header, rows = summary.table(summary.summary(records.read_all(folders)))

    column = header.index("past plateau")
    assert [row[column] for row in rows] == ["no", "yes"]


def test_any_run_can_be_the_baseline(arms, capsys):
    assert command(*arms, "--baseline", "grow", "--json") == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["baseline"] == {"name": "grow", "reason": "--baseline"}
    assert printed["report"] == str(arms[0] / "report.html")
    grow, scratch = printed["arms"]
    assert grow["against_first"] is None and scratch["name"] == "scratch"
    assert "baseline: grow (--baseline)" in (arms[0] / "report.html").read_text()


def test_an_unknown_baseline_is_refused_with_the_nearest_name(arms):
    with pytest.raises(errors.InputError, match="grow.*did you mean grow") as caught:
        command(*arms, "--baseline", "grown")

    assert "\n" not in str(caught.value) and not (arms[0] / "report.html").exists()


def test_stages_are_drawn_only_where_a_run_has_several(arms):
    for folders, num in ((arms[:1], 0), (arms, 2)):
        read = records.read_all(folders)
        page = report_page.page(read, summary.summary(read))
        assert page.count('class="skyline"') == num
        assert "1 stage, 800 steps, 3.2 TFLOP" in page


def test_json_is_one_object_with_the_same_figures(arms, capsys):
    assert command(*arms, "--json") == 0

    printed = json.loads(capsys.readouterr().out)
    scratch, grow = printed["arms"]
    assert scratch["mask_loss"] == 3.0 and scratch["against_first"] is None
    assert grow["against_first"]["speed_up"]["tokens"] == pytest.approx(2.0)


def test_json_has_null_where_a_loss_is_not_a_number(tmp_path, capsys):
    folder = synthetic.run(tmp_path / "diverged", losses=lambda step: float("nan"))

    command(folder, "--json")

    assert json.loads(capsys.readouterr().out)["arms"][0]["mask_loss"] is None


class Tags(html.parser.HTMLParser):
    """Notes tags closed out of order, and attributes that could load something."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.loads = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag != "meta":
            self.open.append(tag)
        self.loads += [a for a in attributes if a[0] in ("src", "href", "srcset", "data")]

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_the_page_is_well_formed_and_loads_nothing(arms):
    command(*arms)
    page = (arms[0] / "report.html").read_text(encoding="utf-8")

    tags = Tags()
    tags.feed(page)
    assert not tags.wrong and not tags.open and not tags.loads
    assert not re.search(r"https?://|@import|url\(|<script", page)
    for drawing in re.findall(r"<svg.*?</svg>(?:\n</svg>)?", page, re.DOTALL):
        xml.etree.ElementTree.fromstring(drawing)


def test_the_page_shows_stages_certificates_recipe_and_versions(arms):
    read = records.read_all(arms)
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

    command(*folders)

    page = (folders[0] / "report.html").read_text()
    (different,) = re.findall(r"Recipe: what differs</h3>\n(.*?)\n", page)
    assert "seed" in different and "peak_lr" not in different


def test_a_claim_that_does_not_hold_stands_out(arms):
    path = arms[1] / "growth" / "0-1.json"
    certificate = json.loads(path.read_text())
    certificate["rows"][1] |= {"holds": False}
    path.write_text(json.dumps(certificate))

    command(*arms)

    page = (arms[0] / "report.html").read_text()
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
def test_certificates_may_lack_fields_and_have_others(arms, certificate):
    (arms[1] / "growth" / "0-1.json").write_text(json.dumps(certificate))

    command(*arms)

    page = (arms[0] / "report.html").read_text()
    assert ("no weight changes" in page) == (certificate == {"rows": []})
    assert ("unheard" in page) == ("of" in certificate) == ("of.x" in page)


def test_names_are_text_and_never_markup(tmp_path):
    folder = synthetic.run(tmp_path / "<b>&", losses=falling(1 / 400))

    command(folder)

    page = (folder / "report.html").read_text()
    assert "&lt;b&gt;&amp;" in page and "<b>&" not in page


@pytest.mark.parametrize("until", [-1, 0, 5, 250, 800])
def test_a_run_can_be_reported_at_any_time(tmp_path, until):
    folder = synthetic.run(
        tmp_path / "run", synthetic.GROWN, losses=falling(1 / 400), until=until
    )

    assert command(folder) == 0


def test_a_run_that_has_only_begun_can_be_reported(tmp_path):
    folder = synthetic.run(tmp_path / "run", losses=falling(1 / 400))
    (folder / "metrics.jsonl").unlink()
    (folder / "growth").rmdir()

    assert command(folder) == 0


def test_a_last_line_in_the_writing_is_left_out(arms):
    path = arms[0] / "metrics.jsonl"
    whole = path.read_bytes()
    rows = records.read(arms[0]).rows

    for cut in (1, 2, 30):  # the newline, the brace, the middle
        path.write_bytes(whole[:-cut])
        assert records.read(arms[0]).rows == (rows if cut == 1 else rows[:-1])


def break_middle(folder):
    (folder / "metrics.jsonl").write_text('{"step": 1\n{"step": 2}\n')


def break_row(folder):
    (folder / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')


def break_config(folder):
    (folder / "config.json").write_text("{")


def drop_stages(folder):
    (folder / "config.json").write_text('{"recipe": {}}')


def drop_config(folder):
    (folder / "config.json").unlink()


def make_unreadable(folder):
    (folder / "metrics.jsonl").unlink()
    (folder / "metrics.jsonl").mkdir()


@pytest.mark.parametrize(
    "damage, words",
    [
        (break_middle, "metrics.jsonl line 1 is not JSON"),
        (break_row, "metrics.jsonl line 1 lacks tokens, flops, seconds"),
        (break_config, "config.json is not valid JSON"),
        (drop_stages, "does not list a run's stages"),
        (drop_config, "is not a working directory"),
        (make_unreadable, "cannot be read"),
    ],
)
def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path, damage, words):
    folder = synthetic.run(tmp_path / "run", losses=falling(1 / 400))
    damage(folder)

    with pytest.raises(errors.InputError, match=words) as caught:
        command(folder)

    assert "\n" not in str(caught.value)


def test_a_place_that_cannot_be_written_is_named(arms, tmp_path):
    with pytest.raises(errors.InputError, match="missing/report.html cannot be written"):
        command(arms[0], "--output", tmp_path / "missing" / "report.html")


def test_runs_of_one_name_are_told_apart(tmp_path):
    folders = [
        synthetic.run(tmp_path / seed / "grow", losses=falling(1 / 400))
        for seed in ("s0", "s1")
    ]

    assert [run.name for run in records.read_all(folders)] == ["s0/grow", "s1/grow"]
    with pytest.raises(errors.InputError, match="twice"):
        records.read_all([folders[0], folders[0]])


def test_long_curves_are_thinned_and_keep_their_shape():
    points = [(float(x), 2.0 * x) for x in range(10_001)]

    thinned = chart.thin(points)

    assert len(thinned) <= chart.ROOM
    assert all(y == pytest.approx(2 * x) for x, y in thinned)
    assert chart.thin(points[:5]) == points[:5]


@pytest.mark.parametrize(
    "low, high, values",
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (2.9, 5.1, [3.0, 3.5, 4.0, 4.5, 5.0]),
        (0, 1e-3, [0, 2e-4, 4e-4, 6e-4, 8e-4, 1e-3]),
    ],
)
def test_axes_have_round_ticks(low, high, values):
    assert chart.ticks(low, high) == pytest.approx(values)


@pytest.mark.parametrize(
    "greatest, unit, expected",
    [
        (3.2e12, "FLOP", (1e12, "TFLOP")),
        (800e3, "", (1e3, "k")),
        (90, "s", (1, "s")),
        (800, "s", (60, "min")),
        (9e4, "s", (3600, "h")),
    ],
)
def test_axes_choose_a_unit_that_reads_well(greatest, unit, expected):
    assert chart.scale(greatest, unit) == expected


@pytest.mark.parametrize("until, paid", [(800, [200e9, 600e9]), (399, [200e9]), (150, [])])
def test_growth_is_marked_where_it_happened(tmp_path, until, paid):
    loss = falling(1 / 400)
    read = records.read_all(
        [
            synthetic.run(tmp_path / "scratch", losses=loss),
            synthetic.run(tmp_path / "grow", synthetic.GROWN, losses=loss, until=until),
        ]
    )

    by_flops, *_ = curves.losses(read, summary.summary(read))

    left, right = 54, 380 - 14  # of a chart whose axis ends at the baseline's 3200 GFLOP
    marks = [float(x) for x in re.findall(r'class="mark run1" d="M([\d.]+)', by_flops)]
    assert marks == pytest.approx([left + x / 3200e9 * (right - left) for x in paid], abs=0.1)
