"""Fine-tunes a model in a working directory, then writes what came out."""

from pathlib import Path

from bertgrow.core import signals
from bertgrow.core.errors import InputError
from bertgrow.finetune import job, outcome
from bertgrow.run import claim, trainer, weights, workdir
from bertgrow.run import launch as runs


def launch(path, read_problem, pretrained, settings, *, resume, stop_after, start, restart):
    """Starts or continues a run, and writes its predictions, results and model card.

    Args:
      path: working directory.
      read_problem: function () -> `Problem`.
      pretrained: `Pretrained`, the model to start from.
      settings: `job.Settings`.
      resume: shell command that continues the run.
      stop_after: seconds after `start` at which to save and stop; None: no limit.
      start: `time.monotonic()` of the start of the command.
      restart: whether to move the files of an earlier run aside and begin anew.

    Returns:
      `outcome.Outcome`.
    """
    runs.remember_compilations()
    with (
        signals.StopRequest(resume=resume, time_limit=stop_after, start=start) as stop,
        claim.claim(path, restart=restart) as path,
    ):
        with stop.uninterruptible():
            problem = read_problem()
            run_job = job.make(problem, pretrained, settings, command=resume)
            _check(path, run_job.summary)
            workdir.open_for(path, run_job.summary)
            weights.write_vocabulary(path, run_job.tokenizer)
        trainer.run(run_job, path, stop=stop)
        with stop.uninterruptible():
            return outcome.write(path, problem, run_job, pretrained)


def source_step(path):
    """Step of the source's checkpoint from which the run in a directory started; None: new."""
    begun = workdir.begun_config(path) if Path(path).is_dir() else None
    return (begun or {}).get("finetuning", {}).get("step")


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
    if begun["store"]["hash"] != summary["store"]["hash"]:
        raise InputError(
            f"--workdir {path} was begun with other sequences: give its --data, --dev and "
            "--length, or another --workdir"
        )
