"""Trains the arms of a comparison: one `bertgrow pretrain` process for each arm and seed."""

import collections
import os
import re
import signal
import subprocess
import sys
from typing import NamedTuple

from etils import epath

from bertgrow.core.differences import differences
from bertgrow.core.errors import EXIT_INPUT, EXIT_STOPPED, CheckFailed, InputError, Stopped
from bertgrow.recipes import load, resolve, token_stores
from bertgrow.run import records, workdir

LAST_LINES = 5  # last output lines of a failed run to print in the error


class Planned(NamedTuple):
    """A planned run: one arm with one seed."""

    arm: str
    folder: epath.Path
    recipe: dict  # resolved, as written to config.json
    store: str  # hash of the token store
    command: list

    @property
    def name(self):
        return self.folder.name


def plan(arms, num_seeds, folder, overrides):
    """Plans the runs of all arms, ordered by seed: seed 0 of each arm comes before seed 1.

    A first comparison is therefore possible early. All recipes are resolved before training.

    Args:
      arms: list of "NAME=FILE[:VARIANT]".
      num_seeds: seeds 0 to `num_seeds` - 1, the same ones in every arm.
      folder: parent folder of the working directories.
      overrides: overrides such as "--config.NAME=VALUE", applied to every recipe.
    """
    for word in overrides:
        if re.match(r"--config\.seed\b", word):
            raise InputError(f"{word}: compare sets the seed of each run; give --seeds N")
    if num_seeds < 1:
        raise InputError(f"--seeds is {num_seeds}; expected 1 or more")
    files = _arms(arms)
    planned = [
        _planned(arm, file, seed, folder, overrides)
        for seed in range(num_seeds)
        for arm, file in files.items()
    ]
    stores = {run.arm: run.store for run in planned}
    if len(set(stores.values())) > 1:
        listed = ", ".join(f"{arm}: {digest[:12]}" for arm, digest in stores.items())
        raise InputError(
            f"the arms have different token stores ({listed}), so their losses do not compare; "
            "give one to all with --config.data.store=STORE"
        )
    return planned


def run_all(planned, *, resume):
    """Trains the unfinished runs in order; yields each run when it is finished.

    Raises:
      Stopped: a signal arrived, or a run was stopped; `resume` is the command to continue.
      InputError, CheckFailed: a run failed; the message has its last output lines.
    """
    with _Relay() as relay:
        for number, run in enumerate(planned, start=1):
            label = f"{run.name} ({number} of {len(planned)})"
            if is_finished(run):
                print(f"{label}: finished already", flush=True)
            else:
                print(f"{label}: training", flush=True)
                code, lines = relay.run(run.command, run.name)
                _check(run, code, lines, relay, resume)
            yield run
            if relay.received and number < len(planned):
                raise Stopped(f"stopped after {run.name}; continue with: {resume}")


def is_finished(planned):
    """Whether the run exists with the same recipe and store, and is evaluated at its end."""
    if not (planned.folder / "config.json").exists():
        return False
    config = workdir.read(planned.folder)
    changes = differences(config["recipe"], planned.recipe)
    if any(not workdir.is_free(name) for name, *_ in changes):
        return False  # `pretrain` reports the difference
    if config["store"]["hash"] != planned.store or not records.read(planned.folder).is_finished:
        return False
    # A run that was killed between its last evaluation and its last checkpoint is unfinished.
    # If all its checkpoints were deleted to free disk space, it counts as finished.
    saves, end = planned.folder / "checkpoints", config["stages"][-1]["end"]
    return not saves.exists() or (saves / "checksums" / f"{end}.json").exists()


def _arms(arms):
    files = {}
    for word in arms:
        name, equals, file = word.partition("=")
        if not equals or not file or not re.fullmatch(r"[\w.+-]+", name):
            raise InputError(
                f"--arms {word!r}; expected NAME=FILE[:VARIANT], with a name of letters, "
                "digits and _ . + -, e.g. full=demo:scratch"
            )
        if name in files:
            raise InputError(f"--arms names {name!r} twice; give each arm a name of its own")
        files[name] = file
    if len(files) < 2:
        raise InputError("--arms names one arm; give two or more, the baseline first")
    return files


def _planned(arm, file, seed, folder, overrides):
    overrides = [*overrides, f"--config.seed={seed}"]
    try:
        recipe = load.read(file, overrides)
        stores = token_stores.open_all(recipe)
        settings = resolve.resolve(recipe, vocab=stores[0].vocab)
    except InputError as error:
        raise InputError(f"arm {arm}: {error}") from error
    path = folder / f"{arm}-seed{seed}"
    command = [sys.executable, "-P", "-m", "bertgrow", "pretrain", "--config", file, *overrides]
    command += ["--workdir", str(path)]
    digest = "+".join(store.hash for store in stores)
    return Planned(arm, path, settings.recipe, digest, command)


class _Relay:
    """Runs one child process at a time, prints its output and forwards signals to it."""

    def __init__(self):
        self.received, self._child = None, None

    def __enter__(self):
        signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        signals = [n for n in signals if signal.getsignal(n) is not signal.SIG_IGN]
        self._old_handlers = {n: signal.signal(n, self._pass_on) for n in signals}
        return self

    def __exit__(self, *_):
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()  # this process failed: the child saves and stops

    def run(self, command, name):
        """Runs a command, prints its output line by line; returns (exit code, last lines)."""
        lines = collections.deque(maxlen=LAST_LINES)
        self._child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        if self.received:  # it arrived before the child started
            self._child.send_signal(self.received)
        with self._child.stdout as output:
            for line in output:
                print(f"{name} | {line.rstrip()}", flush=True)
                if line.strip():
                    lines.append(line.strip())
        return self._child.wait(), list(lines)

    def _pass_on(self, number, _):
        self.received = signal.Signals(number)
        if self._child is not None:
            self._child.send_signal(number)


def _check(planned, code, lines, relay, resume):
    if code == 0:
        return
    # A signal during the start of Python ends the child before it can exit with 75.
    is_killed_by_signal = relay.received and code in (-relay.received, 128 + relay.received)
    if code == EXIT_STOPPED or is_killed_by_signal:
        raise Stopped(f"{planned.name} was stopped early; continue with: {resume}")
    ending = f"ended with exit code {code}" if code > 0 else f"was killed by {_signal(-code)}"
    message = f"{planned.name} {ending}; its last lines: {' | '.join(lines) or '(none)'}"
    raise InputError(message) if code == EXIT_INPUT else CheckFailed(message)


def _signal(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
