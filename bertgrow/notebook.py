"""Runs commands from a notebook on Colab, Kaggle or elsewhere; keeps files between sessions.

    session = notebook.begin(minutes=80)
    store = session.folder / "store"
    notebook.run(session, "prepare", "--output", store)
    run = ["--config", "demo:grow", "--workdir", session.folder / "run"]
    notebook.train(session, "pretrain", *run, f"--config.data.store={store}")

Commands run in processes of their own, because a TPU belongs to one process at a time.
"""

import html
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from bertgrow.core import errors
from bertgrow.planning import hardware

DRIVE = Path("/content/drive/MyDrive")  # Google Drive on Colab, once it is mounted
KAGGLE = Path("/kaggle")
# The folder with all files of a session. Not `bertgrow`: Python would take it for the package.
NAME = "bertgrow-session"
PROBE = "import jax; d = jax.devices(); print(len(d), d[0].device_kind, sep='|')"


class Session(NamedTuple):
    """One session of a notebook."""

    folder: Path  # stores and working directories of this session
    saved: Path | None  # copy that outlives the machine, where `folder` does not
    end: float  # time.time() at which the session must have saved


class Chips(NamedTuple):
    """The accelerators of this machine."""

    count: int
    device: hardware.Device

    @property
    def settings(self):
        """Fields of the recipe to set here: float32 where bfloat16 is emulated."""
        return ["--config.model.dtype=float32"] if self.device.dtype == "float32" else []


def begin(minutes, drive=DRIVE, kaggle=KAGGLE) -> Session:
    """Starts a session, and continues from the files of an earlier one if there are any.

    Args:
      minutes: time until the session must have saved.
      drive: on Colab, the folder of Google Drive that gets a copy.
      kaggle: on Kaggle, the folder with `working`, the output of this session, and `input`,
        where the output of an earlier one lies if the notebook has it as its input.
    """
    end = time.time() + 60 * minutes
    if drive.is_dir():
        session = Session(Path.cwd() / NAME, drive / NAME, end)
        earlier = [session.saved, _unfinished(session.saved)]
    elif (kaggle / "working").is_dir():
        session = Session(kaggle / "working" / NAME, None, end)
        earlier = sorted((kaggle / "input").glob(f"**/{NAME}/"))
    else:
        session, earlier = Session(Path.cwd() / NAME, None, end), []
    source = next((folder for folder in earlier if folder.is_dir()), None)
    if source and not session.folder.exists():
        shutil.copytree(source, session.folder)
        print(f"continues from {source}")
    session.folder.mkdir(parents=True, exist_ok=True)
    return session


def chips() -> Chips:
    """Finds the accelerators, in a process of its own so that they stay free."""
    child = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    if child.returncode:
        raise errors.InputError(f"jax finds no device: {child.stderr.strip()[-300:]}")
    count, kind = child.stdout.strip().splitlines()[-1].split("|")
    return Chips(int(count), hardware.of_kind(kind))


def run(session, *words) -> int:
    """Runs `bertgrow WORDS...`, shows its output, and keeps its files.

    Returns:
      0 if it finished, 75 if it saved and stopped early.

    Raises:
      InputError: it ended with another code.
    """
    words = [str(word) for word in words]
    # Later starts reuse what this machine has compiled.
    variables = dict(JAX_COMPILATION_CACHE_DIR="/tmp/bertgrow-compiled") | os.environ
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "bertgrow", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=variables,
    )
    try:
        # Through a pipe: a notebook shows what is printed, not what a child process writes.
        for line in child.stdout:
            print(line, end="", flush=True)
    except KeyboardInterrupt:
        child.send_signal(signal.SIGTERM)  # it saves
        raise
    finally:
        code = child.wait()
        keep(session)
    if code not in (0, 75):
        raise errors.InputError(f"`bertgrow {' '.join(words)}` ended with exit code {code}")
    return code


def train(session, *words, save_minutes=20) -> bool:
    """Trains until the run or the session ends, and keeps the files every `save_minutes`.

    Returns:
      Whether the run is finished. If not, the same call continues it in the next session.
    """
    while (left := (session.end - time.time()) / 60) > 0:
        limit = min(left, save_minutes)
        if run(session, *words, "--time-limit", f"{limit:.2f}") == 0:
            return True
    print("The session's time is over. All is saved; the next session continues from here.")
    return False


def keep(session):
    """Copies the session's folder to where it outlives the machine.

    The earlier copy is replaced only when the new one is complete.
    """
    if session.saved is None:
        return
    new = _unfinished(session.saved)
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(session.folder, new)
    shutil.rmtree(session.saved, ignore_errors=True)
    new.rename(session.saved)


def show(page, height=900):
    """Shows an HTML page inline; its styles stay inside the frame."""
    from IPython.display import HTML

    text = html.escape(Path(page).read_text("utf-8"))
    style = f"width: 100%; height: {height}px; border: 0"
    # In a div, because IPython warns about a bare frame.
    return HTML(f'<div><iframe srcdoc="{text}" style="{style}"></iframe></div>')


def _unfinished(folder):
    return folder.with_name(f"{folder.name}.new")
