"""Tests of the speed-up at equal loss, and of its conditions."""

import pytest
import synthetic
from reports import report_on
from synthetic import falling

from bertgrow.reporting import summary
from bertgrow.run import records


def compare(first, other):
    return summary.equal_loss(records.read(first), records.read(other))


def test_speed_up_is_taken_where_both_runs_reach_the_worse_final_loss(pair):
    equal = compare(*pair)

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
        ({"stages": synthetic.GROWN, "until": 300}, "sequences of 64 and 32 tokens"),
        ({"until": -1}, "not evaluated yet"),
        ({"losses": lambda step: float("nan")}, "diverged"),
    ],
)
def test_unlike_runs_are_not_compared(tmp_path, other, obstacle):
    first = synthetic.run(tmp_path / "first", losses=falling(1 / 400))
    second = synthetic.run(tmp_path / "second", **{"losses": falling(1 / 400), **other})

    equal = compare(first, second)

    assert obstacle in equal.obstacle and equal.speed_up == {}
    assert report_on(first, second) == 0
