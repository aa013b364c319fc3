"""The processes of one start of a run, with simulated devices on a CPU, and their ends."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path


class Children:
    """Starts all processes of a run; what they print is added to LOG.

    Args:
      words: arguments of `bertgrow`, the command first.
      processes: number of processes; several find each other on this machine.
      log: file.
    """

    def __init__(self, words, *, processes, log):
        self.log, self.start = Path(log), time.monotonic()
        self._begin = self.log.stat().st_size if self.log.exists() else 0
        self._processes = [self._started([*words, *place]) for place in _places(processes)]

    def _started(self, words):
        with open(self.log, "ab") as output:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "bertgrow", *words],
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()

    def said(self):
        """What they have printed since this start."""
        with open(self.log, "rb") as log:
            log.seek(self._begin)
            return log.read().decode(errors="replace")

    def are_running(self):
        return all(process.poll() is None for process in self._processes)

    def send(self, number, which):
        """Sends a signal to processes; SIGKILL to those of them that train."""
        for index in which:
            pid = self._processes[index].pid
            if number == signal.SIGKILL:
                pid = _trainer(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def leave(self, seconds):
        """Waits for all of them to end.

        Returns:
          Their exit codes, None for those that have not ended after so many seconds.
        """
        end = time.monotonic() + seconds
        codes = []
        for process in self._processes:
            try:
                codes.append(process.wait(max(0.0, end - time.monotonic())))
            except subprocess.TimeoutExpired:
                codes.append(None)
        return codes


def _places(processes):
    if processes == 1:
        return [[]]
    with socket.create_server(("", 0)) as server:
        coordinator = f"localhost:{server.getsockname()[1]}"
    place = ["--coordinator", coordinator, "--processes", str(processes), "--process"]
    return [[*place, str(index)] for index in range(processes)]


def _trainer(parent):
    """The process that trains: the child of one that watches, or the process itself."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:  # no Linux
        return parent
    trains = [int(child) for child in children if b"bertgrow" in _command(child)]
    return trains[0] if trains and "--coordinator" in _command(parent).decode() else parent


def _command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
