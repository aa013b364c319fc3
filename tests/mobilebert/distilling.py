"""Runs of `distillations.py` in this process, and their results."""

import json
from pathlib import Path

import devices

from bertgrow import cli
from bertgrow.recipes import load, resolve
from bertgrow.run import job, journal
from bertgrow.train import loop, metrics, sharding
from bertgrow.train.checkpoints import checkpoint

RECIPE = Path(__file__).with_name("distillations.py")


def call(command, store, *options, variant="", on=1):
    """The exit code of a command on the recipe, on the first `on` devices."""
    name = f"{RECIPE}:{variant}".rstrip(":")
    with devices.only(on):
        return cli.main(
            [command, "--config", name, f"--config.data.store={store.folder}", *options]
        )


def distil(store, workdir, *options, variant="", command="distill", on=1):
    return call(command, store, "--workdir", str(workdir), *options, variant=variant, on=on)


def made(store, variant="", *options):
    """The job of a recipe, without running it."""
    recipe = load.read(f"{RECIPE}:{variant}".rstrip(":"), list(options))
    return job.make(resolve.resolve(recipe, vocab=store.vocab), [store])


def saved(job_of_run, workdir, step, index):
    """The state that a run of the job had at a step, in its stage number `index`."""
    stage = job_of_run.stages[index]
    shapes = loop.state_shapes(stage.task, stage.optimizer, sharding.make_mesh())
    with checkpoint.Checkpoints(workdir / "checkpoints") as saves:
        return saves.restore(step, shapes)[0]


def certificate(workdir, name="0-1"):
    return json.loads((workdir / "growth" / f"{name}.json").read_text())


def rows(workdir, split, stage=None):
    """The metrics of a split, of one stage or of all."""
    return [
        row
        for row in metrics.read(workdir / "metrics.jsonl")
        if row["split"] == split and stage in (None, row["stage"])
    ]


def losses(workdir):
    """The training loss of every step."""
    return [row["loss"] for row in rows(workdir, "train")]


def crash_at(monkeypatch, *steps):
    """Makes runs raise a RuntimeError after each of these steps, once."""
    take, remaining = journal.Journal.take, list(steps)

    def crashing(self, info):
        take(self, info)
        if info.step in remaining:
            remaining.remove(info.step)
            raise RuntimeError("the power is gone")

    monkeypatch.setattr(journal.Journal, "take", crashing)
