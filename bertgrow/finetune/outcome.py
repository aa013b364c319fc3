"""Predicts with a fine-tuned model and writes predictions, results and a model card."""

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

from bertgrow.core import system_files
from bertgrow.finetune import card, sequences
from bertgrow.run import records
from bertgrow.train import agreement, evaluation, loop, sharding
from bertgrow.train.checkpoints import checkpoint


class Outcome(NamedTuple):
    """What a run achieved: the contents of results.json, and paths of the predictions."""

    results: dict
    files: list


def write(path, problem, run_job, pretrained):
    """Evaluates the last checkpoint on every set.

    Args:
      path: working directory of a finished run.
      problem: `Problem`.
      run_job: its `trainer.Job`.
      pretrained: model that the run started from, for the model card.

    Returns:
      `Outcome`.
    """
    path, predict = Path(path), _predictor(Path(path), run_job)
    values = {
        (split, name): predict(rows)
        for split, sets in (("dev", problem.dev), ("test", problem.test))
        for name, rows in sets.items()
    }
    written = agreement.from_first(lambda: _write(path, problem, run_job, pretrained, values))
    return Outcome(*written)


def _write(path, problem, run_job, pretrained, values):
    """Writes all files; `values` are {(split, name of a set): values of `Task.score`}."""
    metrics, details, files = {}, {}, []
    for (split, name), predicted in values.items():
        files += problem.write(path / "predictions" / split, split, name, predicted)
        if split == "dev":
            metrics[name] = problem.score(name, predicted)
            details[name] = problem.details(name, predicted)
    results = dict(
        task=problem.name, step=run_job.settings.stages[0].end, compare_by=problem.metric,
        metrics=metrics, details=details,
        notes=[*problem.notes, run_job.summary["finetuning"]["batches"]],
    )  # fmt: skip
    text = json.dumps(results, indent=2) + "\n"
    system_files.write_atomically(path / records.RESULTS, text)
    page = card.text(results, run_job, pretrained)
    system_files.write_atomically(path / "MODEL_CARD.md", page)
    return results, list(map(str, files))


def _predictor(path, run_job):
    """Function of `Sequences` that returns the values of `Task.score` of the last weights."""
    stage, pad_id = run_job.stages[0], run_job.settings.stages[0].model.pad_id
    mesh = sharding.make_mesh(dataclasses.asdict(run_job.settings.mesh), run_job.devices)
    shapes = loop.state_shapes(stage.task, stage.optimizer, mesh)
    with checkpoint.Checkpoints(path / "checkpoints") as saves:
        params = saves.restore_params(saves.latest(), shapes.params)
    task = stage.task._replace(score=None)
    lengths = run_job.rows(0).lengths
    compiled = evaluation.by_shape(task, params, mesh)

    def predict(rows):
        batches = sequences.batches(rows, batch=stage.batch, lengths=lengths, pad_id=pad_id)
        return evaluation.evaluate(task, params, batches, mesh=mesh, compiled=compiled)

    return predict
