"""Runs `bertgrow pretrain` with the small recipe, in this process."""

from pathlib import Path

from bertgrow import cli

RECIPE = str(Path(__file__).resolve().parents[1].joinpath("small_recipe.py"))


def pretrain(store, workdir, *overrides, variant=":"):
    return cli.main(
        ["pretrain", "--config", RECIPE + variant.rstrip(":"), "--workdir", str(workdir)]
        + [f"--config.data.store={store.folder}", *overrides]
    )
