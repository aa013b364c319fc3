"""Starts the process that trains and watches it and the others, in the process first started.

JAX ends a process in C++ or waits for minutes when another one is lost. So the command that the
user starts is only a small parent. It joins the other parents at a rendezvous, starts the
child that trains, passes signals on to it, and says which process was lost, and how.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from bertgrow.core.errors import EXIT_FAILED, EXIT_INPUT, EXIT_STOPPED, Stopped
from bertgrow.data import workers
from bertgrow.run.processes import rendezvous
from bertgrow.run.processes.member import Member

VARIABLE = "BERTGROW_JOIN"  # "HOST:PORT PROCESSES PROCESS PARENT START", set for the child
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
SAVING = 20.0  # seconds that a child has to save, when another process was asked to stop
LEAVING = 1.0  # seconds in which it ends by itself, if all have agreed to stop
ENDING = 5.0  # seconds that a child has to finish writing, when another process was lost
ASKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def is_child():
    return VARIABLE in os.environ


def follow_parent():
    """In the child: ends with its parent."""
    workers.die_with_parent(int(os.environ[VARIABLE].split()[3]))


def start_of_parent():
    """In the child: `time.monotonic()` of the start of the command."""
    return float(os.environ[VARIABLE].split()[4])


def wait_for_verdict():
    """In the child: waits after an unexpected error, which a lost process may have caused.

    The parent ends the child meanwhile if it is so, and names the lost process.
    """
    time.sleep(ENDING + 3)


def run(place, argv, start):
    """Runs a command as one of several processes; returns the exit code of this one.

    Args:
      place: `Place` of this process.
      argv: arguments of `bertgrow`, the command first.
      start: `time.monotonic()` of the start of the command.

    Raises:
      Stopped: another process was lost or asked to stop, or has not arrived.
      InputError: the processes do not fit each other.
    """
    identity = make_identity()
    hub = rendezvous.Rendezvous(place, identity) if place.process == 0 else None
    if hub:
        hub.start()
    member = Member(place, identity)
    try:
        address = f"{place.host}:{member.begin()}"
        return _Watch(place, member).run(address, argv, start)
    finally:
        member.close()
        if hub:
            hub.join(SAVING + 10)  # it tells the others what has happened


def make_identity():
    """{name: text} of what must be equal in all processes: versions and the code."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    versions["Python"] = ".".join(map(str, sys.version_info[:2]))
    return versions | dict(code=_code())


def _code():
    """Hash of all sources of the packages that bring commands and families."""
    groups = ("bertgrow.commands", "bertgrow.families")
    points = [
        point for group in groups for point in importlib.metadata.entry_points(group=group)
    ]
    digest = hashlib.sha256()
    for package in sorted({point.value.partition(".")[0] for point in points}):
        (folder,) = importlib.util.find_spec(package).submodule_search_locations
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(folder)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


class _Watch:
    """Watches one child and the rendezvous."""

    def __init__(self, place, member):
        self._place, self._member = place, member
        self._child, self._received = None, None
        self._cause = None  # message `lost` of the rendezvous
        self._ask_at = self._kill_at = None  # when the child gets SIGTERM and SIGKILL
        self._has_asked = False

    def run(self, address, argv, start):
        signals = [n for n in ASKED if signal.getsignal(n) is not signal.SIG_IGN]
        old = {number: signal.signal(number, self._pass_on) for number in signals}
        try:
            self._start(address, argv, start)
            code = self._watch_child()
            if code:
                self._wait_for_cause()
            return self._outcome(code)
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _start(self, address, argv, start):
        place = self._place
        joining = f"{address} {place.processes} {place.process} {os.getpid()} {start}"
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "bertgrow", *argv],
            env=os.environ | {VARIABLE: joining},
            start_new_session=True,  # else a terminal's Ctrl-C reaches the child twice
        )
        if self._received:  # it arrived before the child started
            self._child.send_signal(self._received)
        threading.Thread(target=self._wait_for_child, name="child", daemon=True).start()

    def _pass_on(self, number, _):
        self._received = signal.Signals(number)
        if self._child is not None:
            self._child.send_signal(number)

    def _wait_for_child(self):
        self._member.messages.put(("child", self._child.wait()))

    def _watch_child(self):
        """Returns the return code of the child, negative for a signal."""
        while True:
            source, message = self._next()
            if source == "child":
                self._member.tell(dict(code=message, how=in_words(message)))
                return message
            if source == "rendezvous":
                self._lose(message)
            if self._ask_at and time.monotonic() > self._ask_at and not self._has_asked:
                self._has_asked = True
                self._child.send_signal(signal.SIGTERM)
            if self._kill_at and time.monotonic() > self._kill_at:
                self._child.kill()

    def _next(self):
        self._member.tell({})
        try:
            return self._member.messages.get(timeout=LEAVING)
        except queue.Empty:
            return None, None

    def _lose(self, cause):
        if self._cause is not None:
            return
        self._cause = cause
        if cause["lost"] == self._place.process:
            return
        now = time.monotonic()
        if _was_asked(cause["code"]):
            self._ask_at, self._kill_at = now + LEAVING, now + SAVING
        else:
            self._kill_at = now + ENDING

    def _wait_for_cause(self):
        """Waits until the rendezvous names the process that ended first, perhaps another."""
        end = time.monotonic() + ENDING
        while self._cause is None and time.monotonic() < end:
            source, message = self._next()
            if source == "rendezvous":
                self._lose(message)

    def _outcome(self, code):
        """Exit code of this process; raises Stopped if another one is the cause."""
        own = code if code >= 0 else 128 - code
        cause = self._cause
        if code == 0 or cause is None or cause["lost"] == self._place.process:
            if code < 0:
                print(f"bertgrow: the process that trains {in_words(code)}", file=sys.stderr)
            return own
        if own == cause["code"] and not self._has_asked:  # all ended alike
            return own
        line = f"process {cause['lost']} ({cause['host']}) {cause['how']}"
        if cause["code"] in (EXIT_FAILED, EXIT_INPUT):  # a restart would end in the same way
            print(f"bertgrow: {line}; its own last line says why", file=sys.stderr)
            return cause["code"]
        raise Stopped(f"{line}; the same command in all processes continues the run")


def in_words(code):
    """How a process ended, from its return code (negative: a signal)."""
    if code == EXIT_STOPPED:
        return "stopped early"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _was_asked(code):
    """Whether a process stopped on request, after it saved or before it had anything to."""
    return code is not None and (code == EXIT_STOPPED or -code in ASKED)
