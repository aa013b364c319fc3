"""Rendezvous of the processes of a run, in process 0: which are there, which are lost.

Every process keeps one connection to it and sends lines of JSON:

    {"process": 1, "processes": 4, "host": "tpu-1", "identity": {"jax": "0.10.2", ...}}  # first
    {}                                     # every `BEAT` seconds
    {"code": 75, "how": "stopped early"}   # the process that trains has ended

Process 0 answers

    {"port": 8477}                         # all are there: JAX begins at this port
    {"refused": "process 1 (tpu-1) ..."}   # it cannot begin: bad input
    {"missing": [1, 3]}                    # it cannot begin: these have not arrived
    {"lost": 1, "host": "tpu-1", "how": "was killed by SIGKILL", "code": -9}
    {}                                     # every `BEAT` seconds

`lost` names the first process that has ended otherwise than with 0: the cause, which ends all.
"""

import contextlib
import json
import selectors
import socket
import threading
import time

from bertgrow.core.errors import InputError

ARRIVAL = 60.0  # seconds until all processes must be there
BEAT = 2.0  # seconds between two signs of life
SILENCE = 20.0  # seconds without a sign of life, after which a process is lost
PORTS = 20  # ports after that of the rendezvous, of which JAX gets the first that is free
LONGEST = 1 << 16  # bytes of a line


class Rendezvous(threading.Thread):
    """Thread of process 0 that runs the rendezvous until all connections are closed.

    Args:
      place: `Place` of process 0.
      identity: {name: text} that must be equal in all processes, e.g. versions.
      arrival: seconds until all must be there.
    """

    def __init__(self, place, identity, *, arrival=ARRIVAL):
        super().__init__(name="rendezvous", daemon=True)
        self._place, self._identity = place, identity
        self._deadline = time.monotonic() + arrival
        self._server = listen(place)
        self._members = {}  # socket -> Member
        self._is_open, self._verdict = True, None  # until the run begins or is refused
        self._has_own = False  # whether process 0 itself has arrived
        self._cause = None
        self._last_beat = 0.0

    def run(self):
        with selectors.DefaultSelector() as selector, self._server:
            self._selector = selector
            selector.register(self._server, selectors.EVENT_READ)
            while self._is_open or self._members or not self._has_own:
                for key, _ in selector.select(BEAT / 2):
                    if key.fileobj is self._server:
                        self._accept()
                    else:
                        self._read(self._members[key.fileobj])
                self._check_time()

    def _accept(self):
        connection, _ = self._server.accept()
        connection.settimeout(BEAT)
        self._members[connection] = _Member(connection)
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, member):
        lines = member.lines()
        try:
            for line in lines or ():
                self._take(member, line)
        except (KeyError, TypeError, AttributeError):  # another program, which found the port
            lines = None
        if lines is None:
            self._leave(member, "was lost: its connection closed")

    def _take(self, member, line):
        if "process" in line:
            member.process, member.host = line["process"], line["host"]
            self._has_own |= member.process == 0
            if self._is_open:
                self._arrive(member, line)
            elif self._verdict:
                self._tell(self._verdict)  # it comes too late for the run, and learns why
        elif "code" in line:
            member.has_ended = True
            if line["code"] != 0:
                self._lose(member, line["how"], line["code"])

    def _arrive(self, member, line):
        present = [each for each in self._members.values() if each.process == member.process]
        different = [
            f"{name} {line['identity'].get(name)}, process 0 has {value}"
            for name, value in self._identity.items()
            if line["identity"].get(name) != value
        ]
        if line["processes"] != self._place.processes:
            different.append(
                f"--processes {line['processes']}, process 0 has {self._place.processes}"
            )
        if len(present) > 1:
            different.append(f"the number of a process on {present[0].host}")
        if different:
            self._refuse(f"process {member.process} ({member.host}) has {different[0]}")
        elif len(self._arrived()) == self._place.processes:
            self._begin()

    def _begin(self):
        try:
            port = free_port(self._place.port)
        except InputError as error:
            self._end(dict(refused=str(error)))
        else:
            self._is_open = False
            self._tell(dict(port=port))

    def _arrived(self):
        return {each.process for each in self._members.values()} - {None}

    def _refuse(self, text):
        self._end(dict(refused=f"{text}; give all processes the same"))

    def _end(self, verdict):
        """The run does not begin."""
        self._is_open, self._verdict = False, verdict
        self._tell(verdict)

    def _leave(self, member, how):
        self._selector.unregister(member.connection)
        member.connection.close()
        del self._members[member.connection]
        if not self._is_open and not member.has_ended:
            self._lose(member, how, None)

    def _lose(self, member, how, code):
        if self._cause is None and member.process is not None:
            self._cause = dict(lost=member.process, host=member.host, how=how, code=code)
            self._tell(self._cause)

    def _check_time(self):
        now = time.monotonic()
        if self._is_open and now > self._deadline:
            missing = set(range(self._place.processes)) - self._arrived()
            self._end(dict(missing=sorted(missing)))
        for member in list(self._members.values()):
            if now - member.heard > SILENCE:
                self._leave(member, f"has not answered for {SILENCE:.0f} s")
        if now - self._last_beat > BEAT:
            self._last_beat = now
            self._tell({})

    def _tell(self, message):
        for member in list(self._members.values()):
            with contextlib.suppress(OSError):  # a closed connection is noticed by reading
                send(member.connection, message)


class _Member:
    """A process at the rendezvous."""

    def __init__(self, connection):
        self.connection, self.heard = connection, time.monotonic()
        self.process, self.host, self.has_ended = None, "", False
        self._rest = b""

    def lines(self):
        """New messages; None if the connection is closed or its data are no messages."""
        try:
            data = self.connection.recv(LONGEST)
            *lines, self._rest = (self._rest + data).split(b"\n")
            if not data or len(self._rest) > LONGEST:
                return None
            self.heard = time.monotonic()
            return [json.loads(line) for line in lines]
        except (OSError, ValueError):
            return None


def send(connection, message):
    """Sends a message as one line."""
    connection.sendall(json.dumps(message).encode() + b"\n")


def listen(place):
    """A listening socket at the port of a `Place`, on all networks of this machine."""
    is_dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if is_dual else socket.AF_INET
    try:
        return socket.create_server(
            ("", place.port), family=family, dualstack_ipv6=is_dual, backlog=1024
        )
    except OSError as error:
        raise InputError(
            f"process 0 cannot listen at port {place.port} of this machine "
            f"({error.strerror}); give another port by --coordinator {place.host}:PORT"
        ) from error


def free_port(port):
    """The first port after `port` that is free on this machine."""
    for number in range(port + 1, min(port + 1 + PORTS, 2**16)):
        with contextlib.suppress(OSError), socket.create_server(("", number)):
            return number
    raise InputError(f"no port from {port + 1} to {port + PORTS} is free on this machine")
