"""Scores files of predictions against labelled data."""

from pathlib import Path

from bertgrow.core.errors import InputError
from bertgrow.finetune import glue, metrics, submissions
from bertgrow.finetune.squad import data, scoring

ODDS = 1.0  # threshold of the official script for files of `--na-prob-file`


def squad(predictions, path, *, is_v2, null_odds=None, threshold=ODDS):
    """Scores a JSON file {id: answer}, see `scoring.score_v1` and `score_v2`.

    `unknown` counts the answers whose question is not in the data; they are left out, as by the
    official scripts.

    Args:
      predictions: file.
      path: SQuAD file with the answers.
      is_v2: whether questions may be without answer.
      null_odds: JSON file {id: score that the question has no answer}, or None.
      threshold: a question counts as unanswered above this score.
    """
    answers = data.read_json(predictions, dict[str, str], "expected {id: answer}")
    questions = data.read(path)
    unknown = len(answers.keys() - {question.id for question in questions})
    if unknown == len(answers):
        raise InputError(
            f"{predictions} answers no question of {path}: give predictions and data of one set"
        )
    odds = None
    if null_odds is not None:
        odds = data.read_json(null_odds, dict[str, float], "expected {id: number}")
    if is_v2:
        limit = None if odds is None else threshold
        scores = scoring.score_v2(questions, answers, odds, limit)
    else:
        scores = scoring.score_v1(questions, answers)
    return scores | dict(unknown=unknown)


def glue_task(name, predictions, folder):
    """Scores a file of predictions of a GLUE task on its dev set; {metric: value}.

    Of MNLI's two dev sets it is the mismatched one if the file is called MNLI-mm.
    """
    task = glue.find(name)
    folder = glue.folder_of(folder, task)
    stem = Path(predictions).name.partition(".")[0]
    part = task.dev.get(stem, next(iter(task.dev.values())))
    gold = glue.read(folder, part, task)
    values = submissions.read(predictions, gold.ids, task.classes)
    count = len(task.classes) if task.classes else None
    return metrics.compute(task.metrics, gold.labels, values, num_classes=count) | dict(
        total=len(values)
    )


def of_task(name):
    """(kind, task) of `--task`, e.g. ("glue", "sst2") or ("squad1", "").

    Raises:
      InputError: there is no such task.
    """
    kind, _, task = name.partition("/")
    if kind == "glue":
        glue.find(task)
    elif name not in ("squad1", "squad2"):
        known = ", ".join(f"glue/{each}" for each in glue.TASKS)
        raise InputError(f"--task {name}: expected squad1, squad2, {known}")
    return kind, task
