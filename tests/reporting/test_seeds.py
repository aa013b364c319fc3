"""Tests of mean curves and intervals over the seeds of an arm."""

import pytest
import synthetic
from reports import arm
from synthetic import falling

from bertgrow.core import errors
from bertgrow.reporting import seeds
from bertgrow.run import records


def compared(*folders):
    return seeds.compare(seeds.group(records.read_all(folders)))


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


def test_a_mean_ends_where_the_last_seed_has_come(tmp_path):
    full = arm(tmp_path, "full", [falling(1 / 400)] * 2)
    late = synthetic.run(tmp_path / "late-seed0", losses=falling(1 / 200), until=500, seed=0)
    whole = synthetic.run(tmp_path / "late-seed1", losses=falling(1 / 200), seed=1)

    _, result = compared(*full, late, whole)

    assert result.arm.step == 500
    assert result.final.reasons == ["late-seed0 is at step 500 of 800"]
    assert result.final.difference is None


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
        synthetic.edit(folder, lambda config, new=evaluation: config["recipe"].update(eval=new))

    _, result = compared(*folders)

    assert result.final.reasons == ["evaluated with another config.eval.rows (32 and 64)"]


def test_seeds_of_an_arm_may_differ_in_nothing_else(arms):
    synthetic.edit(
        arms[1][1], lambda config: config["recipe"]["optimizer"].update(peak_lr=2e-3)
    )

    with pytest.raises(errors.InputError, match="peak_lr=0.001.*0.002; only the seed may"):
        compared(*arms[0], *arms[1])


def test_a_seed_may_be_given_once(arms):
    synthetic.edit(arms[1][1], lambda config: config["recipe"].update(seed=0))

    with pytest.raises(errors.InputError, match="both have config.seed=0"):
        compared(*arms[0], *arms[1])
