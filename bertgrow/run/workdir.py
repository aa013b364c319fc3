"""Opens the working directory of a run and checks its config.json against the recipe."""

import json
import re
from pathlib import Path

from etils import epath

from bertgrow.core import json_files, keys, system_files
from bertgrow.core.differences import differences
from bertgrow.core.errors import InputError
from bertgrow.run import files

# Fields that may change in the middle of a run. They change results by rounding at most, or
# which steps and sequences are reported.
_FREE = re.compile(
    r"mesh\.\w+|checkpoint\.\w+|eval\.\w+|data\.(workers|store)|log_every|accumulate"
    r"|(model|stages\[\d+\])\.(remat|attention|unroll)"
)
MAX_FIELDS = 8  # maximum number of fields in an error
NUMERICS = "numerics"  # field of config.json: `keys.VERSION` of the run; 1 where it is absent
VERSION = 1  # of the files of a working directory
RESTART = "begin anew with --restart, which moves the old files to another folder"
HINT = "give the working directory of a run, or restore the file from a copy"


def is_free(field):
    """Whether a field of a recipe, e.g. "model.remat", may change in the middle of a run."""
    return _FREE.fullmatch(field) is not None


def open_for(path, summary, *, extend=False):
    """Creates the directory, or checks that it belongs to this run; writes config.json.

    Args:
      path: working directory.
      summary: contents of config.json, see `job.summary`.
      extend: whether the last stage may get more steps.

    Raises:
      InputError: the directory cannot be used, or it belongs to another run; the message
        names the fields that differ.
    """
    path, begun = Path(path), begun_config(path) or {}
    changes = begun.get("changes", [])
    if begun:
        changes = changes + _changes(path, begun, summary, extend)
    _write(path, summary | dict(changes=changes, saved=begun.get("saved", False)))
    return path


def settle_changes(path, step):
    """Sets the step of each changed field to the step from which the run continues.

    `open_for` records a change with step None. A change recorded at a later step is moved to
    `step`, because the steps in between are trained again.

    Args:
      path: working directory.
      step: int, step of the checkpoint from which the run continues.

    Returns:
      [{"step": int, "field": str, "before": value, "after": value}], oldest first.
    """
    summary = read(path)
    changes = [
        change | dict(step=step if change["step"] is None else min(change["step"], step))
        for change in summary.get("changes", [])
    ]
    if changes != summary.get("changes", []):
        _write(path, summary | dict(changes=changes))
    return changes


def mark_saved(path):
    """Records in config.json that the run has completed a checkpoint.

    Without a usable checkpoint such a run does not begin again by itself.
    """
    summary = read(path)
    if not summary.get("saved"):
        _write(path, summary | dict(saved=True))


def pinned_teachers(path):
    """Pinned teacher checkpoints of the run begun in this directory, see `Frozen.pinned`."""
    return (begun_config(path) or {}).get("pinned", {})


def begun_config(path):
    """config.json of the run that has begun in a directory; None if any recipe may begin there.

    Raises:
      InputError: files of a run are there, and config.json is missing or damaged.
    """
    path, traces = Path(path), _traces(path)
    file = path / "config.json"
    if traces and not file.exists():
        raise InputError(
            f"--workdir {path} has {traces[0]} and no config.json: restore it from a copy, or "
            f"{RESTART}"
        )
    # A damaged file is an error, too: it may be the trace that is left.
    config = read(path) if file.exists() else {}
    return config if traces or config.get("saved") else None


def read(path):
    """Reads config.json of a working directory; InputError if it is missing or damaged."""
    file = epath.Path(path) / "config.json"
    if not file.exists():
        raise InputError(f"{path} is no working directory of a run: it has no config.json")
    config = json_files.read(file, files.Config, hint=HINT)
    if "lent" in config:  # its name before
        config["pinned"] = config.pop("lent")
    return config


def _traces(path):
    """Names of the files that show that a run has begun, in a working directory.

    config.json alone is no trace: before the first row of metrics and the first checkpoint any
    recipe may begin.
    """
    path = Path(path)
    metrics = path / "metrics.jsonl"
    names = ["metrics.jsonl"] if metrics.exists() and metrics.stat().st_size else []
    for folder in ("checkpoints", "growth"):
        names += [f"{folder}/{name.name}" for name in _entries(path / folder)]
    return names


def _entries(folder):
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _write(path, config):
    text = json.dumps({"version": VERSION} | config, indent=2) + "\n"
    system_files.write_atomically(Path(path) / "config.json", text)


def check_vocabulary(path, vocab, field):
    """Raises `InputError` if the source run used another vocabulary.

    Args:
      path: working directory of the source run.
      vocab: `Vocab` of the store of this run.
      field: recipe field that contains `path`.
    """
    source = read(path)["store"].get("vocabulary", "")
    if source != vocab.hash:
        raise InputError(
            f"{field} {path} has vocabulary {source[:12]}, the store has {vocab.hash[:12]}; "
            "use one for both"
        )


def change_in_words(change):
    """Formats an entry of `changes`, for the progress output."""
    if change["field"] == NUMERICS:
        drawn = "masks and dropout" if change["before"] < keys.MASKS_VERSION else "dropout"
        return (
            f"from step {change['step']} on, {drawn} of the same seed differ from "
            f"those of the version that began this run (numerics {change['before']} -> "
            f"{change['after']})"
        )
    return (
        f"from step {change['step']} on, config.{change['field']} is {change['after']!r}, was "
        f"{change['before']!r}"
    )


def _changes(path, saved, summary, extend):
    """Changed recipe fields of a continued run, as entries of config.json.

    A run that another version of the key scheme began continues with other masks and dropout,
    which is an entry too.
    """
    if saved["store"] != summary["store"]:
        raise InputError(
            f"--workdir {path} was trained on store {saved['store']['hash']}, this is "
            f"{summary['store']['hash']}; give its store, or another --workdir"
        )
    changed = list(differences(saved["recipe"], summary["recipe"]))
    refused = [change for change in changed if not _is_allowed(*change, saved, extend)]
    if refused:
        hint = "; --extend lengthens the last stage" if _has_only_steps(refused) else ""
        raise InputError(
            f"--workdir {path} was begun with another recipe: {in_words(refused)}; use the "
            f"values on the left, or another --workdir{hint}"
        )
    versions = [config.get(NUMERICS, 1) for config in (saved, summary)]
    if versions[0] != versions[1]:
        changed.append((NUMERICS, *versions))
    return [
        dict(step=None, field=field, before=before, after=after)
        for field, before, after in changed
    ]


def _is_allowed(field, before, after, saved, extend):
    last = len(saved["recipe"].get("stages", [])) - 1
    is_longer = field == f"stages[{last}].steps" and isinstance(after, int) and after > before
    return is_free(field) or (extend and is_longer)


def _has_only_steps(changes):
    return all(field.endswith(".steps") for field, *_ in changes)


def in_words(changes):
    """Formats changes, e.g. `config.seed: 0 -> 1, config.length: 32 -> 64 and 3 more`."""
    parts = [
        f"config.{field}: {_value(before)} -> {_value(after)}"
        for field, before, after in changes[:MAX_FIELDS]
    ]
    if len(changes) > MAX_FIELDS:
        parts.append(f"and {len(changes) - MAX_FIELDS} more")
    return ", ".join(parts)


def _value(value):
    return "absent" if value is None else repr(value)
