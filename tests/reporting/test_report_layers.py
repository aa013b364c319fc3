"""Tests of per-layer charts, with teacher and student as separate curves."""

import re

import pytest

from bertgrow.reporting import chart, curves, layers, report_page, summary
from bertgrow.run import records

TASKS = ("masked_lm", "progressive", "distill")


def run(**figures):
    """Three stages of 10 steps, evaluated at both ends; `figures` of the second only."""
    stages = [
        dict(name=str(i), start=10 * i, end=10 * i + 10, flops_per_step=1.0, task=task)
        for i, task in enumerate(TASKS)
    ]
    rows = [
        dict(step=10 * i + at, stage=str(i), split="eval", mask_loss=3.0 + i, length=32)
        | dict(tokens=10 * i + at, flops=1.0 * i + at, seconds=1.0 * i + at)
        | (figures if i == 1 else {})
        for i in range(3)
        for at in (0, 10)
    ]
    return records.Run("student", None, dict(stages=stages), rows, [])


def test_a_figure_of_lists_has_a_line_a_layer_between_two_colours():
    a_run = run(transfer_hidden=[0.5, 0.05, 0.005])

    (chart,) = layers.charts(a_run)

    assert layers.figures(a_run) == ["transfer_hidden"]
    shades = re.findall(r'class="line run0" style="--run: color-mix\(.*? (\d+)%', chart)
    assert shades == ["0", "50", "100"]
    assert "layer 3, step 20: 0.005" in chart


def test_activations_are_shown_against_where_float16_ends():
    (chart,) = layers.charts(run(activation_max=[3.0, 2.5e7]))

    assert "float16 ends: 65,504" in chart


def test_zero_and_infinity_have_no_place_on_a_scale_of_powers_of_ten():
    (chart,) = layers.charts(run(transfer_mean=[0.0, float("inf")]))

    assert "nothing to draw yet" in chart


def test_a_run_without_such_figures_has_no_chapter():
    page = report_page.page([run()], summary.summary([run()]))

    assert "Layer by layer" not in page


def test_a_student_does_not_go_on_from_its_teachers_curve():
    parts = curves.segments(run())

    assert [[row["stage"] for row in part] for part in parts] == [
        ["0"] * 2,
        ["1"] * 2,
        ["2"] * 2,
    ]


@pytest.mark.parametrize(
    "low, high, values",
    [(0.1, 1000, [0.1, 1, 10, 100, 1000]), (1e-9, 10, [1e-9, 1e-7, 1e-5, 1e-3, 1e-1, 10])],
)
def test_a_scale_of_powers_of_ten_has_few_marks(low, high, values):
    assert chart.decades(low, high) == pytest.approx(values)
