"""Runs of the recipe `taught.py` by its commands."""

from pathlib import Path

from bertgrow import cli
from bertgrow.train import metrics

RECIPE = Path(__file__).with_name("taught.py")


def call(command, store, *given, variant=""):
    """The exit code of a command on the recipe."""
    name = f"{RECIPE}:{variant}".rstrip(":")
    return cli.main([command, "--config", name, f"--config.data.store={store.folder}", *given])


def distil(store, workdir, *given, variant=""):
    return call("distill", store, "--workdir", str(workdir), *given, variant=variant)


def rows(workdir, split):
    found = metrics.read(workdir / "metrics.jsonl")
    return [row for row in found if row["split"] == split]


def losses(workdir):
    """The training loss of every step."""
    return [row["loss"] for row in rows(workdir, "train")]
