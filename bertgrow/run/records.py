"""Reads the working directory of a run, finished or not; docs/report.md lists its files."""

import json
from typing import NamedTuple

from etils import epath

from bertgrow.core import errors

STAGE = ("name", "start", "end", "flops_per_step")
ROW = ("step", "tokens", "flops", "seconds")


class Run(NamedTuple):
    name: str
    folder: epath.Path  # as passed by the caller
    config: dict  # recipe, stages, store, versions
    rows: list  # metrics.jsonl, in order
    certificates: list  # growth/*.json, in the order of the run

    @property
    def stages(self):
        return self.config["stages"]

    @property
    def evaluations(self):
        return [row for row in self.rows if row.get("split") == "eval" and "mask_loss" in row]

    @property
    def training(self):
        return [row for row in self.rows if row.get("split") == "train"]

    @property
    def is_finished(self):
        """Whether the run was evaluated at the end of its last stage."""
        last = (self.evaluations or [{}])[-1]
        return last.get("step") == self.stages[-1]["end"]

    def last(self, field):
        """Newest value of a metrics field, or None."""
        return next((row[field] for row in reversed(self.rows) if field in row), None)


def read_all(folders):
    """Reads working directories; each gets the shortest part of its path that is unique."""
    folders = [epath.Path(folder).expanduser() for folder in folders]
    places = [folder.resolve() for folder in folders]
    if len(set(places)) < len(places):
        raise errors.InputError("a working directory was given twice; name each once")
    names = [place.name for place in places]
    if len(set(names)) < len(names):
        names = [f"{place.parent.name}/{place.name}" for place in places]
    if len(set(names)) < len(names):
        names = [str(place) for place in places]
    return [read(folder, name) for folder, name in zip(folders, names, strict=True)]


def read(folder, name=None):
    """Reads one working directory."""
    folder = epath.Path(folder)
    try:
        if not (folder / "config.json").exists():
            raise errors.InputError(
                f"{folder} is not a working directory: it has no config.json; "
                "give the --workdir of a `bertgrow pretrain`"
            )
        config = _parse(folder / "config.json")
        if not _has_stages(config):
            raise errors.InputError(
                f"{folder / 'config.json'} does not list a run's stages with {', '.join(STAGE)}"
            )
        growth, metrics = folder / "growth", folder / "metrics.jsonl"
        certificates = [_parse(p) for p in growth.glob("*.json")] if growth.exists() else []
        if not all(isinstance(certificate, dict) for certificate in certificates):
            raise errors.InputError(f"{growth} has a certificate that is no JSON object")
        rows = _parse_lines(metrics) if metrics.exists() else []
    except OSError as error:
        raise errors.InputError(f"{folder} cannot be read: {error}") from error
    certificates.sort(key=lambda c: (c.get("step", 0), str(c.get("transition", ""))))
    return Run(name or folder.name, folder, config, rows, certificates)


def _parse(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise errors.InputError(f"{path} is not valid JSON: {error}") from error


def _has_stages(config):
    stages = config.get("stages") if isinstance(config, dict) else None
    return isinstance(stages, list) and bool(stages) and all(_has(s, STAGE) for s in stages)


def _has(value, fields):
    return isinstance(value, dict) and all(field in value for field in fields)


def _parse_lines(path):
    """Parses metrics.jsonl; the last line may be incomplete while a run writes it."""
    rows = []
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise errors.InputError(f"{path} line {number} is not JSON: {error}") from error
        if not _has(row, ROW):
            missing = [field for field in ROW if not _has(row, [field])]
            raise errors.InputError(f"{path} line {number} lacks {', '.join(missing)}")
        rows.append(row)
    return rows
