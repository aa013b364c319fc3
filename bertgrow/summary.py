"""What a working directory says: the run read back, and its speed-up at equal loss.

The files are described in docs/report.md. `mask_loss` is what every claim uses; see there.
"""

import json
import math
from typing import NamedTuple

from etils import epath

from bertgrow import errors

PLATEAU = 0.5  # nat: a model closer than this to word frequencies has learnt little else
COSTS = ("flops", "seconds", "tokens")


class Run(NamedTuple):
    """A working directory, read."""

    name: str
    folder: epath.Path
    config: dict  # recipe, stages, store, versions
    rows: list  # metrics.jsonl, in order
    certificates: list  # growth/*.json, in the order of the run


class EqualLoss(NamedTuple):
    """Two runs at the loss that both reach.

    `first` and `other` are the costs, {"flops", "seconds", "tokens"}, at which each run falls
    to `mask_loss` for good, and are empty where `obstacle` says why nothing can be concluded.
    With `is_bound` the other run was already lower when first evaluated: its cost is at most
    the one given, and the speed-up at least.
    """

    mask_loss: float | None
    first: dict
    other: dict
    is_bound: bool
    obstacle: str

    @property
    def speed_up(self):
        """{cost: how many times less the other run needs}."""
        return {k: self.first[k] / self.other[k] for k in self.first if self.other[k]}


class Arm(NamedTuple):
    """One line of the summary; None where the run does not say."""

    name: str
    step: int
    steps: int
    parameters: int | None
    length: int | None
    mask_loss: float | None
    unigram: float | None
    has_left_plateau: bool | None
    tokens: int | None
    flops: float | None
    seconds: float | None
    against_first: EqualLoss | None  # None for the first arm itself


def summary(runs):
    """One `Arm` a run, each compared with the first."""
    return [arm(run, None if run is runs[0] else equal_loss(runs[0], run)) for run in runs]


def arm(run, against_first=None):
    final = (curve(run) or [{}])[-1]
    stage = run.config["stages"][-1]
    mask_loss, unigram = final.get("mask_loss"), final.get("unigram")
    return Arm(
        name=run.name,
        step=last(run, "step") or 0,
        steps=stage["end"],
        parameters=stage.get("parameters"),
        length=final.get("length"),
        mask_loss=mask_loss,
        unigram=unigram,
        has_left_plateau=has_left_plateau(mask_loss, unigram),
        against_first=against_first,
        **{name: last(run, name) for name in COSTS},
    )


def curve(run):
    """The run's evaluations, in order."""
    return [row for row in run.rows if row.get("split") == "eval" and "mask_loss" in row]


def last(run, name):
    """The newest value of a field of the metrics, or None."""
    return next((row[name] for row in reversed(run.rows) if name in row), None)


def has_left_plateau(mask_loss, unigram):
    """Whether a model knows more than how often each piece occurs; None where unknown."""
    if mask_loss is None or unigram is None:
        return None
    return mask_loss <= unigram - PLATEAU


def equal_loss(first, other):
    """What each of two runs paid for the worse of their final losses.

    Losses of rows of another length are not comparable, so only evaluations at the final
    length count, which must be the same in both runs. Between two evaluations a curve is
    taken as straight, and a run has reached a loss when it does not rise above it again:
    what a small model reached before a growth that lost it is not counted.
    """
    curves = curve(first), curve(other)
    if not all(curves):
        return _nothing("not evaluated yet")
    finals = [rows[-1] for rows in curves]
    lengths = [row.get("length") for row in finals]
    stores = [_store(run) for run in (first, other)]
    if lengths[0] != lengths[1]:
        return _nothing(f"evaluated on rows of {lengths[0]} and {lengths[1]} tokens")
    if None not in stores and stores[0] != stores[1]:
        return _nothing("evaluated on different token stores")
    if not all(math.isfinite(row["mask_loss"]) for row in finals):
        return _nothing("diverged")
    level = max(row["mask_loss"] for row in finals)
    if not all(has_left_plateau(level, row.get("unigram")) for row in finals):
        return _nothing("plateau not left")

    curves = [[row for row in rows if row.get("length") == lengths[0]] for rows in curves]
    (cost, is_late), (other_cost, is_bound) = (reach(rows, level) for rows in curves)
    if is_late:
        return _nothing(f"first evaluation of {first.name} is already below {level:.3f}")
    return EqualLoss(level, cost, other_cost, is_bound, "")


def reach(rows, level):
    """({cost: value} where the curve falls to `level` for good, whether only a bound)."""
    above = [i for i, row in enumerate(rows) if not row["mask_loss"] <= level]
    if not above:
        return {name: rows[0][name] for name in COSTS}, rows[0]["mask_loss"] < level
    before, after = rows[above[-1]], rows[above[-1] + 1]
    drop = before["mask_loss"] - after["mask_loss"]
    share = (before["mask_loss"] - level) / drop if math.isfinite(drop) else 1.0
    return {n: before[n] + share * (after[n] - before[n]) for n in COSTS}, False


def _nothing(obstacle):
    return EqualLoss(None, {}, {}, False, f"{obstacle}, no conclusion")


def _store(run):
    return (run.config.get("store") or {}).get("hash")


def read_runs(folders):
    """Reads working directories, each named by as little of its path as tells them apart."""
    folders = [epath.Path(folder).expanduser().resolve() for folder in folders]
    if len(set(folders)) < len(folders):
        raise errors.InputError("the same working directory was given twice; name each once")
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return [read_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def read_run(folder, name=None):
    """Reads one working directory, finished or not."""
    folder = epath.Path(folder)
    try:
        if not (folder / "config.json").exists():
            raise errors.InputError(
                f"{folder} is not a working directory: it has no config.json; "
                "give the --workdir of a `bertgrow pretrain`"
            )
        config = _parse(folder / "config.json")
        if not isinstance(config, dict) or not config.get("stages"):
            raise errors.InputError(f"{folder / 'config.json'} does not list a run's stages")
        growth, metrics = folder / "growth", folder / "metrics.jsonl"
        certificates = [_parse(p) for p in growth.glob("*.json")] if growth.exists() else []
        rows = _lines(metrics) if metrics.exists() else []
    except OSError as error:
        raise errors.InputError(f"{folder} cannot be read: {error}") from error
    certificates.sort(key=lambda c: (c.get("step", 0), str(c.get("transition", ""))))
    return Run(name or folder.name, folder, config, rows, certificates)


def _parse(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise errors.InputError(f"{path} is not valid JSON: {error}") from error


def _lines(path):
    """The objects of a .jsonl file whose last line may still be in the writing."""
    rows = []
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise errors.InputError(f"{path} line {number} is not JSON: {error}") from error
    return rows
