"""Goodput: the seconds of each phase, over restarts."""

import pytest

from bertgrow.run import goodput
from bertgrow.train import metrics


class Time:
    """A clock that tests set forward."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def after(self, seconds):
        self.now += seconds


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def clock(time):
    return goodput.Clock(time)


def test_seconds_belong_to_the_phase_in_which_they_pass(time, clock):
    for phase, seconds in (("compiling", 5), ("training", 20), ("saving", 2), ("training", 10)):
        time.after(1)
        clock.phase(phase)
        time.after(seconds - 1)
    seconds = clock.seconds()
    assert seconds["starting"] == 1
    assert (seconds["compiling"], seconds["saving"]) == (5, 2)
    assert seconds["steps"] == 29
    assert sum(seconds.values()) == time.now - 100


def test_a_wait_for_a_batch_is_input_and_no_step(time, clock):
    def slow():
        for batch in range(3):
            time.after(4)
            yield batch

    clock.phase("training")
    for _ in clock.inputs(slow()):
        time.after(1)
    seconds = clock.seconds()
    assert (seconds["input"], seconds["steps"]) == (12, 3)


def test_a_restart_adds_to_the_seconds_of_the_checkpoint_and_counts_lost_steps(time, clock):
    clock.continue_from({"steps": 50.0, "lost": 3.0}, lost=7.0)
    clock.phase("training")
    time.after(10)
    assert clock.seconds() == dict.fromkeys(goodput.PHASES, 0.0) | dict(steps=60.0, lost=10.0)


def test_the_newest_row_counts():
    rows = [
        dict(step=2, split=metrics.TIME, steps=1.0, tokens=5),
        dict(step=4, split=metrics.TIME, steps=3.0, lost=1.0, tokens=9),
        dict(step=5, split="train", loss=1.0),
    ]
    assert goodput.spent(rows) == dict(steps=3.0, lost=1.0)
    assert goodput.spent(rows[2:]) == {}


def test_shares_are_said_from_the_largest_to_one_percent():
    seconds = dict.fromkeys(goodput.PHASES, 0.0)
    seconds |= dict(steps=650.0, compiling=60.0, evaluating=35.0, saving=4.0)
    said = goodput.in_words(seconds)
    assert said == "12 min 29 s: 87% in steps, 8% compiling, 5% evaluating"
