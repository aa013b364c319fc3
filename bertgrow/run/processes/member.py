"""The connection of one process to the rendezvous of all (`rendezvous.py`)."""

import contextlib
import json
import queue
import socket
import threading
import time

from bertgrow.core.errors import InputError, Stopped
from bertgrow.run.processes import rendezvous

PAUSE = 0.2  # seconds between two attempts to connect
LOST_FIRST = dict(lost=0, how="was lost: its connection closed", code=None)


class Member:
    """Connection to the rendezvous. Messages arrive in the queue `messages`.

    Args:
      place: `Place` of this process.
      identity: as for `Rendezvous`.
      arrival: seconds until all processes must be there.
    """

    def __init__(self, place, identity, *, arrival=rendezvous.ARRIVAL):
        self._place, self._identity, self._arrival = place, identity, arrival
        self._deadline = time.monotonic() + arrival + 2 * rendezvous.BEAT
        self._connection = None
        self.messages = queue.Queue()  # ("rendezvous", message), also of others, see `watching`

    def begin(self):
        """Waits until all processes are there; returns the port at which JAX begins.

        Raises:
          Stopped: a process has not arrived.
          InputError: a process does not fit the others, or the machine of process 0 is unknown.
        """
        while True:
            self._connect()
            reply = self._first_reply()
            if reply is not None:
                break
            time.sleep(PAUSE)  # process 0 has ended early, and may start again
        if "refused" in reply:
            raise InputError(reply["refused"])
        if "missing" in reply:
            raise Stopped(self._missing(reply["missing"]))
        threading.Thread(target=self._listen, name="member", daemon=True).start()
        return reply["port"]

    def tell(self, message):
        """Sends a message; a lost connection is noticed by reading."""
        with contextlib.suppress(OSError):
            rendezvous.send(self._connection, message)

    def close(self):
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)  # a thread may be reading
            self._connection.close()

    def _connect(self):
        host = "localhost" if self._place.process == 0 else self._place.host
        while True:
            try:
                self._connection = socket.create_connection(
                    (host, self._place.port), timeout=rendezvous.SILENCE
                )
                break
            except OSError as error:
                if time.monotonic() > self._deadline:
                    raise self._unreachable(error) from error
                time.sleep(PAUSE)
        self._lines = self._connection.makefile("rb")
        place = self._place
        self.tell(dict(
            process=place.process, processes=place.processes, host=socket.gethostname(),
            identity=self._identity,
        ))  # fmt: skip

    def _unreachable(self, error):
        if isinstance(error, socket.gaierror):
            return InputError(
                f"--coordinator {self._place.coordinator}: no machine has this name; give the "
                "name or address of the machine of process 0"
            )
        return Stopped(self._missing([0]))

    def _missing(self, numbers):
        listed = ", ".join(map(str, numbers))
        noun = "process" if len(numbers) == 1 else "processes"
        return (
            f"{noun} {listed} of {self._place.processes} did not arrive at "
            f"{self._place.coordinator} within {self._arrival:.0f} s: start the same command "
            "on all machines"
        )

    def _first_reply(self):
        """The first message that says something; None if process 0 has left."""
        while time.monotonic() < self._deadline + self._arrival:
            self.tell({})
            message = self._next()
            if message or message is None:
                return message
        return dict(missing=[0])

    def _next(self):
        try:
            line = self._lines.readline()
            return json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError):  # closed, or silent for too long
            return None

    def _listen(self):
        while (message := self._next()) is not None:
            if message:
                self.messages.put(("rendezvous", message))
        self.messages.put(("rendezvous", LOST_FIRST | dict(host=self._place.host)))
