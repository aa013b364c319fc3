"""Runs `bertgrow pretrain` with the small recipe, in this process."""

from pathlib import Path

import devices

from bertgrow import cli

RECIPE = str(Path(__file__).resolve().parents[1].joinpath("small_recipe.py"))


def pretrain(store, workdir, *overrides, variant=":", on=1):
    """The exit code of a run on the first `on` devices."""
    words = ["pretrain", "--config", RECIPE + variant.rstrip(":"), "--workdir", str(workdir)]
    with devices.only(on):
        return cli.main([*words, f"--config.data.store={store.folder}", *overrides])
