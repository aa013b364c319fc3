"""Whether a working directory may be continued by a recipe: config.json is the contract."""

import json
from pathlib import Path

from bertgrow.errors import InputError
from bertgrow.train import checksums

# What may differ between the command and config.json, since it does not change numbers.
FREE = ("mesh", "log_every", "checkpoint", "data.workers", "data.store")


def open_for(path, summary, *, extend=False):
    """Makes the directory, or checks that it is of the same run; then writes config.json.

    Args:
      path: the working directory.
      summary: what config.json is to hold: recipe, stages, store, what is lent, versions.
      extend: allows more steps in the last stage.

    Raises:
      InputError: the directory cannot be used, or belongs to another run: the first
        difference is named.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if _has_begun(path):
            _compare(path, read(path), summary, extend)
        checksums.write_atomically(path / "config.json", json.dumps(summary, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"--workdir {path} cannot be used: {error}") from error
    return path


def lent(path):
    """What other runs have lent to the one that has begun here, see `Frozen.lent`."""
    return read(path).get("lent", {}) if _has_begun(path) else {}


def _has_begun(path):
    """Before a first save a run begins anew, with whatever recipe."""
    return (Path(path) / "checkpoints" / "checksums").exists()


def read(path):
    """config.json of a working directory; an InputError where there is none that reads."""
    try:
        return json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is no working directory of a run: config.json cannot be read ({error})"
        ) from error


def check_vocabulary(path, vocab, field):
    """Raises `InputError` where a run that lends its weights reads other pieces.

    Args:
      path: the working directory of that run.
      vocab: `Vocab` of the store at hand.
      field: of the recipe that names `path`.
    """
    theirs = read(path)["store"]["vocabulary"]
    if theirs != vocab.hash:
        raise InputError(
            f"{field} {path} has vocabulary {theirs[:12]}, the store has {vocab.hash[:12]}; "
            "use one for both"
        )


def _compare(path, known, summary, extend):
    if known["store"] != summary["store"]:
        raise InputError(
            f"--workdir {path} was trained on store {known['store']['hash']}, this is "
            f"{summary['store']['hash']}; give its store, or another --workdir"
        )
    for name, old, new in differences(known["recipe"], summary["recipe"]):
        if name.startswith(FREE) or (extend and _lengthens(name, known, old, new)):
            continue
        hint = "; --extend lengthens the last stage" if name.endswith(".steps") else ""
        raise InputError(
            f"--workdir {path} was begun with config.{name}={old!r}, this is {new!r}; "
            f"use another --workdir, or the same value{hint}"
        )


def _lengthens(name, known, old, new):
    last = len(known["recipe"]["stages"]) - 1
    return name == f"stages[{last}].steps" and isinstance(new, int) and new > old


def differences(old, new, name=""):
    """Yields (dotted name, old value, new value) for every leaf in which two recipes differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            inner = f"{name}.{key}" if name else key
            yield from differences(old.get(key), new.get(key), inner)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, f"{name}[{index}]")
    elif old != new:
        yield name, old, new
