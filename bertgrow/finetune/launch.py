"""Fine-tunes a model in a working directory, then writes what came out."""

import contextlib
import hashlib
import json
from pathlib import Path

import jax

from bertgrow.core import signals
from bertgrow.core.errors import InputError
from bertgrow.finetune import job, outcome
from bertgrow.run import claim, trainer, weights, workdir
from bertgrow.run import launch as runs
from bertgrow.train import agreement


def launch(
    path, read_problem, pretrained, settings, *, resume, teacher=None, stop_after=None,
    start=None, restart=False, place=None,
):  # fmt: skip
    """Starts or continues a run, and writes its predictions, results and model card.

    Args:
      path: working directory.
      read_problem: function () -> `Problem`.
      pretrained: `Pretrained`, the model to start from.
      settings: `job.Settings`.
      resume: shell command that continues the run.
      teacher: `teachers.Teacher`, or None.
      stop_after: seconds after `start` at which to save and stop; None: no limit.
      start: `time.monotonic()` of the start of the command.
      restart: whether to move the files of an earlier run aside and begin anew.
      place: `side_by_side.Place` of one of several runs at the same time.

    Returns:
      `outcome.Outcome`.
    """
    runs.remember_compilations()
    request = signals.StopRequest(resume=resume, time_limit=stop_after, start=start)
    options = {} if place is None else dict(devices=[place.device], name=Path(path).name)
    with (
        request if place is None else contextlib.nullcontext(place.stop) as stop,
        claim.claim(path, restart=restart) as path,
    ):
        with stop.uninterruptible():
            problem = read_problem()
            run_job = job.make(
                problem, pretrained, settings, teacher=teacher, command=resume, **options
            )
            _check_equal(run_job, pretrained)
            agreement.from_first(lambda: _open(path, run_job))
        trainer.run(run_job, path, stop=stop)
        with stop.uninterruptible():
            return outcome.write(path, problem, run_job, pretrained)


def first_steps(folders):
    """Steps of the checkpoints of --from and --teacher that runs began with, or None.

    Args:
      folders: function () -> working directories, of which the first counts.
    """
    return agreement.from_first(lambda: next(map(_first_steps, folders()), [None, None]))


def _first_steps(path):
    begun = workdir.begun_config(path) if Path(path).is_dir() else None
    tuned = (begun or {}).get("finetuning", {})
    return [tuned.get("step"), tuned.get("teacher", {}).get("step")]


def _check_equal(run_job, pretrained):
    """Raises InputError if the processes have other options, data or models than the first."""
    if jax.process_count() == 1:
        return
    recipe = json.dumps(run_job.summary["recipe"], sort_keys=True, default=str)
    content = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(pretrained.params)):
        content.update(leaf.tobytes())
    agreement.check_equal({
        "the recipe": hashlib.sha256(recipe.encode()).hexdigest(),
        "the data": run_job.summary["store"]["hash"],
        "the model": content.hexdigest(),
        "the teacher": run_job.summary["finetuning"].get("teacher", {}).get("digest", ""),
    })  # fmt: skip


def _open(path, run_job):
    _check(path, run_job.summary)
    workdir.open_for(path, run_job.summary)
    weights.write_vocabulary(path, run_job.tokenizer)


def _check(path, summary):
    """Raises InputError if the run in the folder is of another task or of other data."""
    begun = workdir.begun_config(path)
    if begun is None:
        return
    task, expected = begun.get("finetuning", {}).get("task"), summary["finetuning"]["task"]
    if task != expected:
        was = f"for --task {task}" if task else "by another command"
        raise InputError(
            f"--workdir {path} was begun {was}, not for {expected}: give another --workdir"
        )
    was, now = (entry["finetuning"].get("teacher") for entry in (begun, summary))
    if was != now:
        raise InputError(
            f"--workdir {path} was begun {_with(was)}, not {_with(now)}: give the same teacher "
            "and options, or another --workdir"
        )
    if begun["store"]["hash"] != summary["store"]["hash"]:
        raise InputError(
            f"--workdir {path} was begun with other sequences: give its --data, --dev and "
            "--length, or another --workdir"
        )


def _with(teacher):
    """The entry `teacher` of config.json in words."""
    if not teacher:
        return "without a teacher"
    return (
        f"with --teacher {teacher['source']} of step {teacher['step']} "
        f"({teacher['digest'][:12]}), label weight {teacher['label_weight']:g} and temperature "
        f"{teacher['temperature']:g}"
    )
