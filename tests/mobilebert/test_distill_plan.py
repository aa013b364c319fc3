"""What `bertgrow plan` says of a recipe whose stages learn different things."""

import contextlib
import io
import json
from pathlib import Path

import pytest

from bertgrow import cli, plan_table

RECIPE = str(Path(__file__).resolve().parents[2] / "configs" / "mobilebert.py")


@pytest.fixture(scope="module")
def told():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert (
            cli.main(["plan", "--config", RECIPE, "--device=v5e", "--chips=256", "--json"]) == 0
        )
    return json.loads(out.getvalue())


def test_a_run_of_teacher_and_student_is_compared_with_no_plain_recipe(told):
    words = " ".join([*plan_table.findings(told), *told["assumptions"]])

    assert "plain" not in told and "speed-up" not in words
    assert "hand-over 0-1: masked_lm to progressive" in words
    assert "spares 48% of the blocks" in words


def test_the_table_names_tasks_and_the_frozen_teachers_memory(told):
    models, costs, memory = plan_table.tables(told)

    assert [row[1] for row in models[2]] == ["masked_lm", "progressive", "distill"]
    assert costs[1][3] == "of all" and costs[2][-1][0] == "all"
    frozen = [row["memory"]["frozen"] for row in told["stages"]]
    assert frozen == [0, 4 * 306_483_516, 4 * 306_483_516]
    assert memory[1][2] == "frozen" and memory[2][1][2] == "1.23 GB"


def test_a_teacher_is_not_taken_for_a_narrow_student(told):
    utilisation = [row["time"]["utilisation"] for row in told["stages"]]

    assert utilisation == pytest.approx([0.4] * 3)
