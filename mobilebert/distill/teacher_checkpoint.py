"""Selects a teacher checkpoint of another run and verifies it on resume."""

import functools
from pathlib import Path

from bertgrow.core.errors import InputError
from bertgrow.recipes import resolve
from bertgrow.run import workdir
from bertgrow.train import agreement
from bertgrow.train.checkpoints import checkpoint
from mobilebert.models import mobilebert

FIELD = "config.transfer.teacher"


def checkpoints(folder):
    """The `Checkpoints` of the run in the working directory `folder`."""
    return checkpoint.Checkpoints(Path(folder) / "checkpoints")


def find(folder, vocab_size, pinned=None):
    """Finds the model of a run and the checkpoint to use as teacher.

    Args:
      folder: the working directory of the run, which may still be training.
      vocab_size: of the student, for a recipe that takes it from the store.
      pinned: {"step", "digest"} of the checkpoint that the student began with; None: the
        student begins now, with the newest checkpoint.

    Returns:
      `MobileBertConfig`, step and digest.

    Raises:
      InputError: there is no such run, it is of another family, it has no checkpoint, it has
        not reached its last stage, or its checkpoint differs from the one the student began
        with.
    """
    model, begins = _last_stage(folder, vocab_size)
    if pinned is not None:
        _check_same(folder, **pinned)
        return model, pinned["step"], pinned["digest"]
    step, digest = newest(folder)
    if begins and step <= begins:
        raise InputError(
            f"{FIELD} {folder} is at step {step}, and the teacher is the model of its last "
            f"stage, which begins at {begins}; train it further first"
        )
    return model, step, digest


@functools.cache
def _last_stage(folder, vocab_size):
    """Model of the last stage, and the step at which the stage begins."""
    recipe = workdir.read(folder)["recipe"]
    recipe["model"]["vocab_size"] = recipe["model"]["vocab_size"] or vocab_size
    last = resolve.resolve(recipe).stages[-1]
    if not isinstance(last.model, mobilebert.MobileBertConfig):
        raise InputError(
            f"{FIELD} {folder} is of another family ({recipe['model']['family']}); give a run "
            "of config.model.family='mobilebert'"
        )
    return last.model, last.start


def newest(folder):
    """Step and digest of the newest valid checkpoint of a run, the same in all processes."""

    def read():
        with checkpoints(folder) as saves:
            return _newest(folder, tuple(saves.steps()))

    return tuple(agreement.from_first(read))


@functools.cache  # it reads a whole checkpoint, and one start calls it several times
def _newest(folder, steps):
    del steps  # part of the cache key: new checkpoints are read
    with checkpoints(folder) as saves:
        step = saves.latest()
        digest = None if step is None else saves.digest(step)
    if step is None:
        raise InputError(f"{FIELD} {folder} has no checkpoint; train it first")
    if digest is None:
        raise InputError(
            f"{FIELD} {folder}: its checkpoint {step} was removed while it was read, since "
            "that run goes on; start again, or give a copy of its working directory"
        )
    return step, digest


def _check_same(folder, step, digest):
    with checkpoints(folder) as saves:
        present = saves.digest(step)
    if present != digest:
        state = f"now is {present[:12]}" if present else "is missing"
        raise InputError(
            f"{FIELD} {folder}: this run began with its checkpoint {step}, {digest[:12]}, "
            f"which {state}; restore it from a copy, or use another --workdir"
        )
