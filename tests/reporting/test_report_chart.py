"""Tests of charts: fixed size, integer step labels, no overlap of labels and curves."""

import itertools
import math
import re
import xml.etree.ElementTree

import pytest
import synthetic
from synthetic import falling

from bertgrow.reporting import chart, curves, elements, layers, report_page, summary
from bertgrow.run import records


def parse(chart):
    return xml.etree.ElementTree.fromstring(chart)


def texts(chart, kind):
    return [text for text in parse(chart).iter("text") if kind in text.get("class").split()]


def curve_points(chart):
    """Points a unit apart along every curve."""
    for path in parse(chart).iter("path"):
        if "line" in path.get("class").split():
            corners = [tuple(map(float, p.split())) for p in path.get("d")[1:].split("L")]
            for (x, y), (next_x, next_y) in itertools.pairwise(corners):
                num = max(1, math.ceil(math.hypot(next_x - x, next_y - y)))
                for i in range(num + 1):
                    yield x + (next_x - x) * i / num, y + (next_y - y) * i / num


def letters(text):
    """(left, top, right, bottom) of words of 12 units, centred."""
    x, y, half = float(text.get("x")), float(text.get("y")), 3.5 * len(text.text)
    return x - half, y - 9, x + half, y


def test_words_stand_off_the_curves_and_off_one_another(tmp_path):
    """Five arms, and the curves of some pass where the words of others would stand."""
    losses = [lambda step, n=n: 5.0 - step / n for n in (400, 390, 300, 250, 200)]
    read = records.read_all(
        [
            synthetic.run(tmp_path / str(i), stages, losses=loss)
            for i, loss in enumerate(losses)
            for stages in [synthetic.GROWN if i == 4 else synthetic.WHOLE]
        ]
    )

    for drawn in curves.losses(read, summary.summary(read)):
        boxes = [letters(text) for text in texts(drawn, "gain")]
        boxes += [letters(text) for text in texts(drawn, "tick") if "unigram" in text.text]
        assert len(boxes) == 5
        for left, top, right, bottom in boxes:
            assert left >= 54 and right <= 366 and top >= 0 and bottom <= 227
            inside = [
                (x, y) for x, y in curve_points(drawn) if left < x < right and top < y < bottom
            ]
            assert not inside
        for one, other in itertools.combinations(boxes, 2):
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or (
                other[3] <= one[1]
            )  # fmt: skip


@pytest.mark.parametrize(
    "last, width, expected",
    [
        (3, 290, ["0", "1", "2", "3"]),
        (1200, 380, ["0", "250", "500", "750", "1,000"]),
        (1_000_000, 290, ["0", "500,000", "1,000,000"]),
    ],
)
def test_a_step_axis_counts_steps(last, width, expected):
    line = chart.Line(0, [(0, 1.0), (last, 2.0)])

    drawn = chart.chart([line], x=("step", None), y="y", width=width)

    across = texts(drawn, "middle")
    assert [text.text for text in across] == ["step", *expected]
    assert all(letters(text)[2] <= width for text in across)


def test_the_steps_of_training_are_counted_in_steps(tmp_path):
    stages = [{**synthetic.WHOLE[0], "end": 1200}]
    run = records.read(synthetic.run(tmp_path / "run", stages, losses=lambda step: 3.0))

    for drawn in curves.training([run]):
        assert "1,000" in [text.text for text in texts(drawn, "tick")]


def test_a_chart_has_the_size_that_its_letters_are_made_for():
    """Without it, one chart alone was stretched over the whole page."""
    drawn = chart.chart([chart.Line(0, [(0, 1.0), (9, 2.0)])], x=("x", ""), y="y")
    page = elements.document("title", [])

    root = parse(drawn)
    assert (root.get("width"), root.get("height")) == ("380", "265")
    assert "auto-fit" not in page and page.count("auto-fill") == 2
    limits = re.findall(r"\.charts(?:\.small)? > div \{ max-width: (\d+)rem", page)
    assert [int(rem) * 16 <= 1.3 * width for rem, width in zip(limits, (380, 290), strict=True)]


def test_every_table_of_a_page_scrolls_by_itself(tmp_path):
    folder = synthetic.run(tmp_path / "run", synthetic.GROWN, losses=lambda step: 3.0)
    read = records.read_all([folder])

    page = report_page.page(read, summary.summary(read))

    assert page.count("<table") == page.count('<div class="scroll"><table') > 3
    assert ".scroll { overflow-x: auto" in page


@pytest.mark.parametrize(
    "values, ends, marks",
    [
        ([1.2, 1.4], (1, 5), ["1", "2", "5"]),
        ([3e-6, 4e-5], (2e-6, 5e-5), ["2·10⁻⁶", "5·10⁻⁶", "10⁻⁵", "2·10⁻⁵", "5·10⁻⁵"]),
        ([0.002, 0.3], (0.002, 0.5), ["0.01", "0.1"]),
    ],
)
def test_a_scale_of_powers_reaches_little_further_than_its_values(values, ends, marks):
    low, high = layers.value_range(values)
    line = chart.Line(0, list(enumerate(values)))

    drawn = chart.chart([line], x=("step", None), y="y", y_range=(low, high), is_log=True)

    assert (low, high) == pytest.approx(ends)
    assert [text.text for text in texts(drawn, "end")] == marks


def test_long_curves_are_thinned_and_keep_their_shape():
    points = [(float(x), 2.0 * x) for x in range(10_001)]

    thinned = chart.thin(points)

    assert len(thinned) <= chart.MAX_POINTS
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
