"""Runs of the recipe `taught.py` through the CLI."""

import contextlib
from pathlib import Path

import jax

from bertgrow import cli
from bertgrow.train import metrics

RECIPE = Path(__file__).with_name("taught.py")


def call(command, store, *options, variant=""):
    """The exit code of a command on the recipe."""
    name = f"{RECIPE}:{variant}".rstrip(":")
    arguments = [command, "--config", name, f"--config.data.store={store.folder}", *options]
    with lightly_optimised():
        return cli.main(arguments)


@contextlib.contextmanager
def lightly_optimised():
    """Compiles in a third of the time; a few steps of a small model gain nothing from more."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def distil(store, workdir, *options, variant=""):
    return call("distill", store, "--workdir", str(workdir), *options, variant=variant)


def rows(workdir, split):
    return [row for row in metrics.read(workdir / "metrics.jsonl") if row["split"] == split]


def losses(workdir):
    """The training loss of every step."""
    return [row["loss"] for row in rows(workdir, "train")]
