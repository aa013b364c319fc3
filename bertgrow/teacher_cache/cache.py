"""On-disk cache of teacher outputs, so that stages train without running the teacher.

`cache.json` records, for each stage, the weights, store and recipe from which its files are
computed. Each stage has one folder with the files of `teacher_cache/entries.py`. `fill` writes
them in one pass over the same sequences with the same masks as in training.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from bertgrow.core import json_files, keys, units
from bertgrow.core.differences import differences
from bertgrow.core.errors import InputError
from bertgrow.teacher_cache import entries
from bertgrow.train.checkpoints import disk

HINT = "choose another --cache, cache less (docs/cache.md) or leave --cache away"


class Identity(TypedDict):
    """What the files of a stage are computed from: an entry of `cache.json`."""

    teacher: str  # digest of the frozen weights
    store: str  # hash
    recipe: json_files.Sha256  # of `made_of`
    made_of: dict[str, Any]  # recipe fields


class Cache(NamedTuple):
    """The part of the cache that belongs to one stage."""

    root: Path
    name: str
    layout: entries.Layout
    start: int  # step of the run at which the stage begins
    first: int  # index in the run of the first sequence of the stage
    batch: int  # sequences per step
    slices: int  # micro-batches per step
    store: str  # hash of the token store
    recipe: dict  # recipe fields that determine the files, plain data

    @property
    def folder(self):
        return self.root / self.name

    def entries(self):
        """Reader of the cached arrays of sequences, see `pipeline.batches`."""
        return entries.Entries(self.folder, self.layout, self.first)

    def zeros(self, rows):
        """Zero arrays with the shapes of the cached arrays of `rows` sequences."""
        fields = self.layout.fields.items()
        return {name: np.zeros((rows, *shape), dtype) for name, (shape, dtype) in fields}

    def missing(self):
        """List of the parts without a file, in order."""
        parts = self.layout.parts()
        return [part for part in parts if not (self.folder / part.name).exists()]

    def identity(self, teacher):
        """`Identity` of the stage; `teacher` is None before its weights are trained."""
        text = json.dumps(self.recipe, sort_keys=True)
        recipe = hashlib.sha256(text.encode()).hexdigest()
        return dict(teacher=teacher, store=self.store, recipe=recipe, made_of=self.recipe)


def of_run(root, settings, stores, stages, rows):
    """{stage index: `Cache`} for all stages that have teacher outputs to cache.

    Args:
      root: folder of the cache; it may be missing.
      settings: RunConfig.
      stores: list of opened `Store`s.
      stages: all `Stage`s of the run.
      rows: function (stage index) -> stream of sequences.

    Raises:
      InputError: no stage has a teacher.
    """
    indices = [index for index, stage in enumerate(stages) if stage.targets]
    if not indices:
        raise InputError(
            f"--cache {root}: no stage of the recipe has a teacher, so there is nothing "
            "to cache; leave --cache away"
        )
    return {
        index: _of_stage(Path(root), settings, stores, stages, index, rows(index))
        for index in indices
    }


def _of_stage(root, settings, stores, stages, index, stream):
    stage, epochs = stages[index], settings.data.mask_epochs
    if epochs and len(stores) > 1:
        raise InputError(
            "config.data.mask_epochs with --cache: the sequences of several stores do "
            "not repeat together; give one store, or set it to 0"
        )
    recipe = json.loads(json.dumps(_recipe(settings, index) | stage.targets.depends))
    return Cache(
        root=root,
        name=f"{index}-{settings.stages[index].task}",
        layout=layout(stage, period=stream.epoch_sequences(epochs) if epochs else None),
        start=settings.stages[index].start,
        first=sum(each.steps * each.batch for each in stages[:index]),
        batch=stage.batch,
        slices=settings.accumulate,
        store="+".join(opened.hash for opened in stores),
        recipe=recipe,
    )


def layout(stage, *, period=None):
    """`entries.Layout` of a stage that has `targets`."""
    return entries.layout(
        stage.targets.fields, phases=stage.targets.phases,
        rows=stage.steps * stage.batch, batch=stage.batch, period=period,
    )  # fmt: skip


def _recipe(settings, index):
    """Recipe fields that determine the sequences of a stage and their masks."""
    masking, data = vars(settings.stages[index].masking), settings.data
    before = [[each.steps, each.batch, each.length] for each in settings.stages[: index + 1]]
    return dict(
        seed=settings.seed,
        masking=dict(masking),
        keys=keys.MASKS_VERSION,
        rows=data.rows,
        weights=data.weights,
        mask_epochs=data.mask_epochs,
        steps_batch_length=before,
    )


def check_all(caches, stages, saves, say):
    """Checks, before any file is written, that the caches fit the run and the disk."""
    for index, cache in caches.items():
        check(cache, stages[index].frozen.digest(saves))
    if not any(cache.missing() for cache in caches.values()):
        return
    needed = sum(cache.layout.bytes for cache in caches.values())
    (root,) = {cache.root for cache in caches.values()}
    check_free_disk(root, needed)
    sizes = [f"{c.name} {units.si(c.layout.bytes, 'B')}" for c in caches.values()]
    say(
        f"cache {root} takes {units.plain(needed / 1e9)} GB ({', '.join(sizes)}); `bertgrow "
        "plan --device NAME` estimates whether caching or recomputing is cheaper"
    )


def check_free_disk(root, needed):
    """Raises InputError if the disk of `root` has less than `needed` bytes free."""
    disk.check_disk(root, needed, what="targets of the teacher", hint=HINT)


def check(cache, teacher):
    """Raises InputError, with both hashes, if the teacher, store or recipe differs.

    Args:
      cache: `Cache` of a stage.
      teacher: digest of the frozen weights; None before they are trained.
    """
    recorded, expected = read(cache.root).get(cache.name), cache.identity(teacher)
    if recorded is None and cache.folder.exists() and any(cache.folder.glob("*.array_record")):
        raise InputError(
            f"--cache {cache.root} has files of {cache.name}, and its cache.json has no "
            "entry for them; give another --cache, or remove this one"
        )
    for name in ("teacher", "store", "recipe") if recorded else ():
        if expected[name] in (None, recorded[name]):
            continue
        changes = differences(recorded["made_of"], expected["made_of"])
        change = ""
        if name == "recipe" and (first := next(changes, None)):
            field, old, new = first
            change = f": {field} was {old!r} and is {new!r}"
        raise InputError(
            f"--cache {cache.root} was made for {name} {recorded[name][:12]} in {cache.name}, "
            f"this is {expected[name][:12]}{change}; give another --cache, or remove this one"
        )


def read(root):
    """Reads `cache.json`: {name of a stage: `Identity`}; empty if there is no file."""
    path = root / "cache.json"
    if not path.exists():
        return {}
    hint = "give another --cache, or remove this one"
    return json_files.read(path, dict[str, Identity], hint=hint)
