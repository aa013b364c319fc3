"""Tests that several processes stop at the same step, soon after a request."""

import signal
from types import SimpleNamespace

import numpy as np
import pytest

from bertgrow.core.errors import InputError
from bertgrow.train import agreement


class Processes:
    """Two processes at the same steps; the test sets their requests."""

    def __init__(self, seconds=0.1):
        self.now, self.seconds, self.gathered = 0.0, seconds, []
        self.sent = {}
        self.each = [
            agreement.Agreement(2, gather=self._gather(0), clock=lambda: self.now),
            agreement.Agreement(2, gather=self._gather(1), clock=lambda: 3 * self.now),
        ]

    def _gather(self, number):
        def gather(row):
            self.sent[number] = row
            return np.stack([self.sent.get(0, row), self.sent.get(1, row)])

        return gather

    def step(self, step, requested):
        """The answers of both processes; the second sends its request first."""
        self.now += self.seconds
        self.sent = {1: np.array([requested[1], 3 * self.seconds])}
        first = self.each[0].stops(step, requested[0])
        if 0 in self.sent:
            self.gathered.append(step)
        second = self.each[1].stops(step, requested[1])
        return first, second


def test_processes_compare_requests_every_few_seconds_and_stop_at_the_same_step():
    two = Processes(seconds=0.125)

    answers = {step: two.step(step, (False, step >= 60)) for step in range(1, 72)}

    # Twice as many steps each time, up to 2.5 seconds by the clock of the first process.
    assert two.gathered == [1, 3, 7, 15, 31, 51, 71]
    stopped = [step for step, answer in answers.items() if answer == (True, True)]
    assert stopped == [71]
    assert set(answers.values()) == {(False, False), (True, True)}


def test_steps_longer_than_the_bound_are_compared_each():
    two = Processes(seconds=9.0)

    assert [two.step(step, (step == 3, False))[0] for step in (1, 2, 3)] == [0, 0, 1]


def test_a_step_takes_until_the_devices_have_ended_it():
    clock = SimpleNamespace(now=0.0)

    def wait():
        clock.now += 4.0  # sent at once, ended after four seconds

    def gather(row):
        return np.stack([row, row])

    processes = agreement.Agreement(2, gather=gather, clock=lambda: clock.now)
    array = SimpleNamespace(block_until_ready=wait)

    answers = [processes.stops(step, step == 2, array) for step in (1, 2)]

    assert answers == [False, True]  # too long to go two steps without comparing


def test_another_stage_measures_its_own_steps():
    two = Processes(seconds=0.1)
    two.step(1, (False, False))

    for process in two.each:
        process.begin(10)

    assert two.step(11, (True, False)) == (True, True)


def test_one_process_compares_nothing():
    alone = agreement.Agreement(1, gather=None)

    assert [alone.stops(step, step == 2) for step in (1, 2)] == [False, True]


def test_values_that_differ_between_processes_are_named(monkeypatch):
    def gather(table):
        other = table.copy()
        other[1, 0] = ord("f")
        return np.stack([table, table, other])

    monkeypatch.setattr(agreement.jax, "process_count", lambda: 3)
    monkeypatch.setattr(agreement, "_gather", gather)

    with pytest.raises(InputError, match="the store is 0ab in process 0 and fab in process 2"):
        agreement.check_equal({"the recipe": "123", "the store": "0ab"})


def test_an_error_of_the_first_process_is_raised_in_the_others(monkeypatch):
    sent = []
    monkeypatch.setattr(agreement.jax, "process_count", lambda: 2)
    monkeypatch.setattr(agreement, "_broadcast", lambda data: sent.append(data) or sent[0])

    def fail():
        raise InputError("the disk is full")

    with pytest.raises(InputError, match="the disk is full"):
        agreement.from_first(fail)
    monkeypatch.setattr(agreement.jax, "process_index", lambda: 1)
    with pytest.raises(InputError, match="the disk is full"):
        agreement.from_first(lambda: pytest.fail("only the first process calls it"))


def test_a_call_inside_a_call_of_the_first_process_is_its_own(monkeypatch):
    monkeypatch.setattr(agreement.jax, "process_count", lambda: 2)
    sent = []
    monkeypatch.setattr(agreement, "_broadcast", lambda data: sent.append(data) or data)

    assert agreement.from_first(lambda: agreement.from_first(lambda: 3) + 1) == 4
    assert len(sent) == 1


def test_the_reason_for_a_stop_names_the_process():
    requests = np.array([[0, 1], [signal.SIGTERM, 1]], np.float32)
    two = agreement.Agreement(2, gather=lambda row: requests)

    assert two.stops(1, 0)
    assert two.reason == "SIGTERM in process 1"
