"""Reads the working directory of a run, finished or not; docs/report.md lists its files."""

import json
from typing import NamedTuple

from etils import epath

from bertgrow.core import errors, json_files
from bertgrow.run import files, workdir
from bertgrow.train import metrics
from bertgrow.train.checkpoints import checksums

RESULTS = "results.json"  # of a fine-tuning run


class Run(NamedTuple):
    name: str
    folder: epath.Path  # as passed by the caller
    config: dict  # recipe, stages, store, versions
    rows: list  # metrics.jsonl, in order
    certificates: list  # growth/*.json, in the order of the run
    results: dict | None = None  # results.json of a fine-tuning run that has ended

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
        """Whether the run was evaluated at the end of its last stage, or fine-tuned to it."""
        if "finetuning" in self.config:
            return self.results is not None
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
    """Reads one working directory; InputError if a file of it is damaged."""
    folder = epath.Path(folder)
    growth = folder / "growth"
    try:
        config = workdir.read(folder)
        rows = metrics.read(folder / "metrics.jsonl", files.Row)
        _check_metrics(folder)
        certificates = [
            json_files.read(path, files.Certificate, hint=workdir.HINT)
            for path in (sorted(growth.iterdir()) if growth.exists() else ())
            if path.name.endswith(".json")
        ]
    except OSError as error:
        raise errors.InputError(f"{folder} cannot be read: {error}") from error
    certificates.sort(key=lambda certificate: certificate.get("step", 0))
    results = folder / RESULTS
    found = (
        json_files.read(results, files.Results, hint=workdir.HINT) if results.exists() else None
    )
    return Run(name or folder.name, folder, config, rows, certificates, found)


def _check_metrics(folder):
    """Raises InputError if the newest intact checkpoint was saved with other rows of metrics.

    After a damaged one, a run continues from an older one and writes other rows.
    Hashes a checkpoint only if the rows differ.
    """
    saves = folder / "checkpoints"
    for step, file in _newest_first(saves / "checksums"):
        try:
            saved = json.loads((saves / str(step) / "record" / "metadata").read_text())
            digest = json_files.check(saved["record"]["metrics"], metrics.Digest)
        except (OSError, ValueError, LookupError, TypeError):
            continue  # damaged
        try:
            return metrics.check_unchanged(folder / "metrics.jsonl", digest, step)
        except errors.InputError:
            if checksums.reason(saves / str(step), file) is None:
                raise


def _newest_first(folder):
    files = folder.iterdir() if folder.exists() else ()
    saves = [(int(file.stem), file) for file in files if file.stem.isdigit()]
    return sorted(saves, reverse=True)
