"""Tests of `bertgrow plan` for recipes whose stages have different tasks."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import pytest

from bertgrow import cli
from bertgrow.planning import cache_cost, table
from bertgrow.train.checkpoints import disk

RECIPE = str(Path(__file__).resolve().parents[2] / "configs" / "mobilebert.py")


@pytest.fixture(scope="module")
def plan():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert (
            cli.main(["plan", "--config", RECIPE, "--device=v5e", "--chips=256", "--json"]) == 0
        )
    return json.loads(out.getvalue())


def test_a_run_of_teacher_and_student_is_compared_with_no_plain_recipe(plan):
    words = " ".join([*table.summary(plan), *plan["assumptions"]])

    assert "plain" not in plan and "speed-up" not in words
    assert "change of task 0-1: masked_lm to progressive" in words
    assert "spares 48% of the blocks" in words


def test_the_table_names_tasks_and_the_frozen_teachers_memory(plan):
    models, costs, memory, _ = table.tables(plan)

    assert [row[1] for row in models[2]] == ["masked_lm", "progressive", "distill"]
    assert costs[1][3] == "of all" and costs[2][-1][0] == "all"
    frozen = [row["memory"]["frozen"] for row in plan["stages"]]
    assert frozen == [0, 4 * 306_483_516, 4 * 306_483_516]
    assert memory[1][2] == "frozen" and memory[2][1][2] == "1.23 GB"


def test_a_teacher_is_not_taken_for_a_narrow_student(plan):
    utilisation = [row["time"]["utilisation"] for row in plan["stages"]]

    assert utilisation == pytest.approx([0.4] * 3)


def test_the_plan_says_by_seconds_whether_caching_or_recomputing_is_cheaper(plan):
    """By hand: rows of 512 tokens, 512 wide, 4 heads, 76 slots of 64 labels; 1 GB a second."""
    maps, labels = 2 * (512 * 512 + 4 * 512 * 512), (2 + 2) * 76 * 64
    costs = [row["cache"] for row in plan["stages"][1:]]

    lines = list(cache_cost.summary(plan))

    assert [cost["entry_bytes"] for cost in costs] == [maps, labels]
    # 325 GFLOP a row forward at 256 x 79 TFLOP/s; in the phases 25 / 48 of the blocks.
    expected = [2048 * share * 325e9 / (256 * 0.4 * 197e12) for share in (25 / 48, 1)]
    assert [cost["teacher_seconds"] for cost in costs] == pytest.approx(expected, rel=0.02)
    reads = [2048 * maps / 1e9, 2048 * labels / 1e9]
    assert [cost["read_seconds"] for cost in costs] == pytest.approx(reads)
    assert lines[0].startswith("--cache would take 1,308,515 GB (stage 1 1.29 PB,")
    assert lines[1] == (
        "stage 1: reading targets takes 5.37 s a step, the teacher's forward pass 17.1 ms: "
        "recomputing is cheaper"
    )
    assert lines[2].endswith("39.8 ms a step, the teacher's forward pass 33 ms: recomputing is "
                             "cheaper")  # fmt: skip


@pytest.mark.parametrize(
    "read, ask, students",
    [
        (1.0, 3.0, 3),  # two students: 3 + 1 + 2 against 6, three: 3 + 1 + 3 against 9
        (0.04, 8.44, 2),
        (1.0, 1.0, None),
    ],
)
def test_a_cache_pays_from_the_student_with_whom_all_steps_take_less(read, ask, students):
    cost = cache_cost.compare(read, ask)

    assert cost["pays_from"] == students
    assert (f"from {students} students on" in cache_cost.words(**cost)) == bool(students)


@pytest.mark.slow
def test_a_plan_is_told_before_a_cache_is_refused_and_asks_for_a_device(
    tmp_path, capsys, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)

    code = cli.main(["plan", "--config", f"{RECIPE}:small", "--cache", str(tmp_path / "cache")])

    printed = capsys.readouterr()
    assert code == 2
    assert "--cache would take 0.489 GB (stage 1 421 MB, stage 2 67.9 MB)" in printed.out
    assert "whether caching or recomputing is cheaper depends on the device: add" in printed.out
    assert "targets of the teacher need 489 MB" in printed.err and "has 1 MB" in printed.err
    assert printed.err.count("\n") == 1
