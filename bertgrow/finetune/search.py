"""Several fine-tuning runs in one folder: every task of GLUE, every setting of a grid."""

import functools
import json
from pathlib import Path
from typing import NamedTuple

from bertgrow.core import json_files, system_files
from bertgrow.core.errors import InputError
from bertgrow.finetune import glue, grid, job, side_by_side
from bertgrow.run import files, records, workdir
from bertgrow.train import agreement

LEFT_OUT = "wnli"  # papers give the average of GLUE without it


class Run(NamedTuple):
    """A run of a search."""

    task: str
    setting: dict
    settings: job.Settings
    folder: Path
    results: dict | None = None  # once it has ended


def run_all(path, tasks, runs_of, fine_tune, expected, *, devices=(), request=None):
    """Runs what has not ended yet, and writes search.json.

    Args:
      path: folder of the search.
      tasks: names of tasks.
      runs_of: function (task) -> iterable of (setting, `Settings`).
      fine_tune: function (task, `Settings`, folder, `side_by_side.Place` or nothing) that
        starts or continues a run and writes its results.json.
      expected: function (task) -> (hash of its data, source of the model, entry `teacher` of
        config.json or None).
      devices: list of `jax.Device`: several train a run each at the same time; else one run
        follows another, on all devices.
      request: function () -> `StopRequest` of all these runs.

    Returns:
      The contents of search.json.

    Raises:
      InputError: a run in the folder is of other data or another model.
    """
    path = Path(path)
    runs = [
        Run(task, *each, path / task.replace("/", "-") / grid.folder(each[1]))
        for task in tasks
        for each in runs_of(task)
    ]
    calls = [
        functools.partial(fine_tune, run.task, run.settings, run.folder)
        for run in runs
        if not agreement.from_first(lambda run=run: _has_ended(run, expected))
    ]
    if min(len(devices), len(calls)) > 1:
        with request() as stop:
            side_by_side.run(calls, devices, stop)
    else:
        for call in calls:
            call()
    return agreement.from_first(lambda: _write(path, runs))


def _write(path, runs):
    finished = [
        run._replace(
            results=json_files.read(
                run.folder / records.RESULTS, files.Results, hint=workdir.HINT
            )
        )
        for run in runs
    ]
    table = summary(finished, path)
    text = json.dumps(table, indent=2) + "\n"
    system_files.write_atomically(path / "search.json", text)
    return table


def begun(path):
    """Folders of the runs in the folder of a search."""
    return sorted(file.parent for file in Path(path).glob("*/*/config.json"))


def _has_ended(run, expected):
    """Whether a run has results; InputError if other data or models made them."""
    if not (run.folder / records.RESULTS).exists():
        return False
    folder, expected = run.folder, expected(run.task)
    known = workdir.read(folder)
    tuned = known.get("finetuning", {})
    if (known["store"]["hash"], tuned.get("source"), tuned.get("teacher")) != expected:
        raise InputError(
            f"{folder} has the results of other data, or of another model or teacher: give "
            "another --workdir"
        )
    return True


def summary(finished, path):
    """Contents of search.json: settings of each task, the best first; GLUE's average."""
    by_task = {}
    for run in finished:
        by_task.setdefault(run.task, []).append(run)
    tasks = {}
    for task, runs in by_task.items():
        rows = grid.rows([(run.setting, score(run.results)) for run in runs])
        best = max(runs, key=lambda run: (run.setting == rows[0].setting, score(run.results)))
        tasks[task] = dict(
            metric=runs[0].results["compare_by"],
            rows=[
                dict(setting=row.setting, mean=row.mean, deviation=row.deviation,
                     scores=row.scores)
                for row in rows
            ],
            best=str(best.folder.relative_to(path)),
        )  # fmt: skip
    return dict(tasks=tasks, glue=_averages(by_task, tasks, path))


def score(results):
    """The score of a run: the metric of its task, as mean over its labelled sets."""
    values = [metrics[results["compare_by"]] for metrics in results["metrics"].values()]
    return sum(values) / len(values)


def lines(table):
    """search.json as lines of text."""
    for task, results in table["tasks"].items():
        yield f"{task} ({results['metric']})"
        for row in results["rows"]:
            setting = ", ".join(f"{name} {value:g}" for name, value in row["setting"].items())
            spread = "" if row["deviation"] is None else f" +- {row['deviation']:.4f}"
            count = len(row["scores"])
            seeds = "1 seed" if count == 1 else f"{count} seeds"
            yield f"  {row['mean']:.4f}{spread}  {setting or 'defaults'}  ({seeds})"
        yield f"  best run: {results['best']}"
    for name, value in table["glue"].items():
        yield f"GLUE {name}: {value:.4f}"


def found_tasks(data):
    """Tasks of GLUE whose folder with train.tsv is in `data`; InputError if there is none."""
    folders = {name: Path(data) / task.folder for name, task in glue.TASKS.items()}
    found = [
        f"glue/{name}" for name, folder in folders.items() if glue.file_of(folder, "train.tsv")
    ]
    if not found:
        expected = ", ".join(folder.name for folder in folders.values())
        raise InputError(
            f"--data {data} has no task of GLUE; expected some of the folders {expected}, "
            "each with train.tsv"
        )
    return found


def _averages(by_task, tasks, path):
    """Averages over the tasks of GLUE that were run, of their best runs; {} below two tasks.

    A task with two metrics counts with their mean, as on the leaderboard, and so does MNLI with
    its two sets.
    """
    scores = {}
    for task, runs in by_task.items():
        if task.startswith("glue/"):
            best = next(
                run for run in runs if str(run.folder.relative_to(path)) == tasks[task]["best"]
            )
            names = glue.TASKS[task.removeprefix("glue/")].metrics
            sets = best.results["metrics"].values()
            values = [metrics[name] for metrics in sets for name in names]
            scores[task] = sum(values) / len(values)
    if len(scores) < 2:
        return {}
    others = [value for task, value in scores.items() if task != f"glue/{LEFT_OUT}"]
    label = f"average of {len(scores)} tasks"
    averages = {label: sum(scores.values()) / len(scores)}
    if len(others) < len(scores):
        averages[f"{label} without WNLI"] = sum(others) / len(others)
    return averages
