"""Starts real processes of one run, each with its own simulated devices, and ends them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 30.0  # seconds in which all must leave


class Pod:
    """The processes of a run, started with `--coordinator`, `--processes` and `--process`.

    Args:
      workdir: of the run; process i writes its output to WORKDIR.i.log.
      command: of bertgrow.
      arguments: of the command; or a list of them for each process.
      devices: simulated devices of each process.
      folders: of the code of each process; this one by default.
    """

    def __init__(self, workdir, command, *arguments, devices=1, processes=2, folders=()):
        self.logs = [Path(f"{workdir}.{number}.log") for number in range(processes)]
        coordinator = f"localhost:{free_port()}"
        environ = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "PYTHONUNBUFFERED": "1"}
        self.parents = []
        for number, log in enumerate(self.logs):
            words = [sys.executable, "-m", "bertgrow", command, "--workdir", str(workdir)]
            words += ["--coordinator", coordinator, "--processes", str(processes)]
            words += ["--process", str(number)]
            for each in arguments:
                words += each[number] if isinstance(each, list | tuple) else [str(each)]
            with open(log, "wb") as output:
                started = subprocess.Popen(
                    words,
                    stdout=output,
                    stderr=output,
                    env=environ,
                    cwd=folders[number] if folders else ROOT,
                )
            self.parents.append(started)

    def said(self, number=0):
        return self.logs[number].read_text(errors="replace")

    def last_line(self, number):
        return self.said(number).strip().rpartition("\n")[2]

    def wait_for(self, text, seconds=600):
        """Waits until process 0 prints `text`, or a function returns true."""
        is_there = text if callable(text) else lambda: text in self.said()
        end = time.monotonic() + seconds
        while not is_there():
            assert time.monotonic() < end, self.said()
            assert self.parents[0].poll() is None, self.said()
            time.sleep(0.01)

    def codes(self, seconds=600):
        """Exit codes of all processes, in order."""
        end = time.monotonic() + seconds
        return [each.wait(max(0.1, end - time.monotonic())) for each in self.parents]

    def kill(self, *numbers):
        """Ends processes that train with SIGKILL, as a system without memory does."""
        for number in numbers:
            parent = self.parents[number].pid
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
            os.kill(int(children.split()[0]), signal.SIGKILL)

    def terminate(self, *numbers):
        for number in numbers:
            self.parents[number].terminate()

    def leave(self):
        """Waits until all have left; returns the codes, and checks the time that it takes."""
        began = time.monotonic()
        codes = self.codes()
        assert time.monotonic() - began < LIMIT
        return codes

    def end(self):
        for each in self.parents:
            each.kill()
            each.wait()


def of_recipe(workdir, command, recipe, store, *overrides, **options):
    """The `Pod` of a recipe FILE:VARIANT on an opened store."""
    words = ("--config", recipe, f"--config.data.store={store.folder}", *overrides)
    return Pod(workdir, command, *words, **options)


def free_port():
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def positions(workdir):
    """{step: data position} of all checkpoints of a run."""
    records = Path(workdir).glob("checkpoints/[0-9]*/record/metadata")
    read = {int(path.parts[-3]): json.loads(path.read_bytes()) for path in records}
    return {step: record["record"]["position"] for step, record in read.items()}
