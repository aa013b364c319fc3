"""Runs of the recipe `taught.py` through the CLI."""

from pathlib import Path

from bertgrow import cli
from bertgrow.train import metrics

RECIPE = Path(__file__).with_name("taught.py")


def call(command, store, *options, variant=""):
    """The exit code of a command on the recipe."""
    name = f"{RECIPE}:{variant}".rstrip(":")
    arguments = [command, "--config", name, f"--config.data.store={store.folder}", *options]
    return cli.main(arguments)


def distil(store, workdir, *options, variant=""):
    return call("distill", store, "--workdir", str(workdir), *options, variant=variant)


def rows(workdir, split):
    return [row for row in metrics.read(workdir / "metrics.jsonl") if row["split"] == split]


def losses(workdir):
    """The training loss of every step."""
    return [row["loss"] for row in rows(workdir, "train")]
