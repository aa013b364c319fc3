"""Tests of the rendezvous: every process learns which is missing, different or lost."""

import socket
import threading
import time

import pytest

from bertgrow.core.errors import InputError, Stopped
from bertgrow.run.processes import member, places, rendezvous

SAME = dict(jax="0.10.2")


def free_port():
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


class Rendezvous:
    """A rendezvous on its own port; `arrive` begins as one of the processes, in a thread."""

    def __init__(self, processes=2, arrival=20.0):
        self.place = places.Place("localhost", free_port(), processes, 0)
        self.arrival, self.members, self.begun, self._threads = arrival, {}, {}, []
        self.hub = rendezvous.Rendezvous(self.place, SAME, arrival=arrival)
        self.hub.start()

    def arrive(self, *numbers, identity=SAME, processes=None):
        for number in numbers:
            place = self.place._replace(process=number)
            place = place._replace(processes=processes or place.processes)
            arrived = member.Member(place, identity, arrival=self.arrival)
            self.members[number] = arrived
            thread = threading.Thread(target=self._begin, args=(number, arrived))
            thread.start()
            self._threads.append(thread)
        return self

    def _begin(self, number, arrived):
        try:
            self.begun[number] = arrived.begin()
        except (InputError, Stopped) as error:
            self.begun[number] = error

    def results(self):
        for thread in self._threads:
            thread.join(20)
        return [self.begun[number] for number in sorted(self.begun)]

    def next(self, number):
        return self.members[number].messages.get(timeout=20)


def test_all_learn_the_port_of_jax_once_the_last_has_arrived():
    three = Rendezvous(processes=3).arrive(1, 2)
    time.sleep(0.1)
    assert three.begun == {}

    first, *others = three.arrive(0).results()

    assert three.place.port < first < three.place.port + 21 and others == [first, first]


def test_a_process_that_does_not_arrive_is_named_to_the_others():
    errors = Rendezvous(processes=4, arrival=0.3).arrive(0, 2).results()

    assert all(isinstance(error, Stopped) for error in errors) and len(errors) == 2
    assert "processes 1, 3 of 4 did not arrive at localhost:" in str(errors[0])


def test_a_coordinator_that_does_not_answer_is_process_0_that_did_not_arrive():
    place = places.Place("localhost", free_port(), 2, 1)
    alone = member.Member(place, SAME, arrival=0.1)
    alone._deadline = time.monotonic() + 0.1

    with pytest.raises(Stopped, match="process 0 of 2 did not arrive at localhost"):
        alone.begin()


def test_a_machine_without_a_name_is_bad_input():
    unknown = member.Member(places.Place("no-such.invalid", 80, 2, 1), SAME)
    unknown._deadline = 0.0

    with pytest.raises(InputError, match="no-such.invalid:80: no machine has this name"):
        unknown.begin()


@pytest.mark.parametrize("options, message", [
    (dict(identity=dict(jax="0.12.0")), r"has jax 0.12.0, process 0 has 0.10.2"),
    (dict(processes=3), r"has --processes 3, process 0 has 2"),
])  # fmt: skip
def test_a_process_that_differs_is_refused_in_all(options, message):
    errors = Rendezvous().arrive(0).arrive(1, **options).results()

    for error in errors:
        assert isinstance(error, InputError)
        assert f"process 1 ({socket.gethostname()}) {message}" in str(error)


def test_a_process_that_comes_after_the_refusal_learns_it_too():
    two = Rendezvous().arrive(1, identity=dict(jax="0.12.0"))
    assert isinstance(two.results()[0], InputError)
    two.members[1].close()
    time.sleep(0.3)  # the rendezvous notices

    errors = two.arrive(0).results()

    assert [type(error) for error in errors] == [InputError, InputError]


def test_the_first_process_that_ends_badly_is_the_cause_in_all():
    two = Rendezvous(processes=3).arrive(0, 1, 2)
    two.results()

    two.members[1].tell(dict(code=-9, how="was killed by SIGKILL"))
    causes = [two.next(number)[1] for number in range(3)]
    two.members[2].tell(dict(code=1, how="ended with exit code 1"))
    for each in two.members.values():
        each.close()
    two.hub.join(20)

    assert [cause["lost"] for cause in causes] == [1, 1, 1]
    assert causes[0]["how"] == "was killed by SIGKILL" and causes[0]["code"] == -9
    assert not two.hub.is_alive()


def test_a_closed_connection_is_a_lost_process_unless_it_has_finished():
    two = Rendezvous(processes=3).arrive(0, 1, 2)
    two.results()

    two.members[2].tell(dict(code=0, how="ended with exit code 0"))
    two.members[2].close()
    two.members[1].close()

    cause = two.next(0)[1]
    assert cause["lost"] == 1 and cause["how"] == "was lost: its connection closed"


def test_other_programs_that_find_the_port_are_ignored():
    two = Rendezvous()
    for data in (b"GET / HTTP/1.1\r\n\r\n", b'["list"]\n', b'{"process": 1}\n', b"\xff\n"):
        with socket.create_connection(("localhost", two.place.port)) as other:
            other.sendall(data)

    assert all(isinstance(port, int) for port in two.arrive(0, 1).results())


def test_a_port_in_use_is_bad_input():
    with socket.create_server(("", 0)) as server:
        place = places.Place("localhost", server.getsockname()[1], 2, 0)

        with pytest.raises(InputError, match="process 0 cannot listen at port"):
            rendezvous.Rendezvous(place, SAME)
