"""Functions for notebooks and programs: `bertgrow.load`, `train`, `plan`, `compare`, `report`.

Each does what the command of its name does, and returns its result. docs/api.md shows them.
"""

import time
from pathlib import Path
from types import SimpleNamespace


def load(path, step=None):
    """Loads a model for use, see `bertgrow.inference.model.load`."""
    from bertgrow.inference import model

    return model.load(path, step)


def train(
    recipe, *, store=None, workdir, options=None, cache=None, extend=False, restart=False
):
    """Trains a run in its working directory, or continues it; a generator.

    for info in bertgrow.train("demo:grow", store="STORE", workdir="RUN"):
        print(info.step, float(info.metrics["loss"]))

    It logs, evaluates, saves and grows as `bertgrow pretrain` and `bertgrow distill` do. A run
    whose loop is left early continues from its last checkpoint.

    Args:
      recipe: name of a recipe or a Python file, as in `--config`.
      store: token store; None: that of the recipe.
      workdir: working directory.
      options: {field: value}, e.g. {"schedule.peak": 2e-4, "stages[0].steps": 1000}.
      cache: folder of a teacher cache; None: no cache.
      extend: whether the last stage may have more steps than it began with.
      restart: whether to move the files of an earlier run into `aside-TIME` and begin anew.

    Yields:
      `bertgrow.core.types.StepInfo`. Its `metrics` are device scalars; its `state` is valid
      until the next step.
    """
    from bertgrow.recipes import load as recipes
    from bertgrow.run import launch

    args = SimpleNamespace(
        config=recipe, overrides=_overrides(store, options), workdir=Path(workdir),
        extend=extend, restart=restart, time_limit=None, profile=None, start=time.monotonic(),
    )  # fmt: skip
    config = recipes.read(recipe, args.overrides)
    command = "pretrain" if config.model.family == "bert" else "distill"
    cache = None if cache is None else Path(cache)
    yield from launch.steps(args, config, command=command, cache=cache)


def plan(
    recipe, *, store=None, options=None, device=None, chips=None, mfu=None, price=None,
    calibrate=False, read_rate=None, compile=None, search_batch=False,
):  # fmt: skip
    """Estimates parameters, FLOPs, memory and time of a recipe; docs/plan.md has the fields.

    Args:
      recipe, store, options: as in `train`.
      device, chips, mfu, price, calibrate, read_rate, compile, search_batch: as the options of
        `bertgrow plan`.

    Returns:
      dict, what `bertgrow plan --json` prints.
    """
    from bertgrow.commands import plan as command
    from bertgrow.core.errors import InputError
    from bertgrow.planning import hardware

    if device is not None and device not in hardware.TABLE:
        raise InputError(f"device is {device!r}; expected one of {', '.join(hardware.TABLE)}")
    return command.make(SimpleNamespace(
        config=recipe, overrides=_overrides(store, options), device=device, chips=chips,
        mfu=mfu, price=price, calibrate=calibrate, read_rate=read_rate, compile=compile,
        search_batch=search_batch,
    ))  # fmt: skip


def compare(*runs, baseline=None, output=None):
    """Compares finished runs at equal held-out loss; docs/compare.md has the fields.

    Args:
      runs: working directories, or a folder of them.
      baseline: name of the run or arm to compare with; None: the first.
      output: folder for compare.json, .svg and .html; None: the folder around the runs.

    Returns:
      dict, the contents of compare.json.
    """
    from bertgrow.commands import compare as command
    from bertgrow.reporting import comparison

    results, chosen, folder = command.read(SimpleNamespace(
        runs=[str(run) for run in runs], overrides=[], seeds=None, workdir=output,
        baseline=baseline,
    ))  # fmt: skip
    return comparison.as_json(results, folder, chosen)


def report(*runs, output=None, baseline=None):
    """Writes the page of one or several runs; docs/report.md describes it.

    Args:
      runs: working directories.
      output: file; None: report.html in the first of them.
      baseline: as in `compare`.

    Returns:
      The path of the page.
    """
    from bertgrow.commands import report as command

    first, *others = [str(run) for run in runs]
    path, *_ = command.write(SimpleNamespace(
        workdir=first, others=others, output=output, baseline=baseline
    ))  # fmt: skip
    return Path(path)


def _overrides(store, options):
    fields = dict(options or {}) | ({} if store is None else {"data.store": store})
    return [f"--config.{name}={value}" for name, value in fields.items()]
