"""Tests that several processes stop at the same step, soon after a request."""

from types import SimpleNamespace

import numpy as np

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
