"""Reads SQuAD files, and checks where the answers of a training file are."""

import collections
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

from bertgrow.core import json_files
from bertgrow.core.errors import InputError
from bertgrow.data.corpus import files


class Answer(TypedDict):
    text: str
    answer_start: NotRequired[int]


class Entry(TypedDict):
    id: str
    question: str
    answers: NotRequired[list[Answer]]
    is_impossible: NotRequired[bool]


class Paragraph(TypedDict):
    context: str
    qas: list[Entry]


class Article(TypedDict):
    paragraphs: list[Paragraph]


class File(TypedDict):
    data: list[Article]


class Question(NamedTuple):
    """A question about a paragraph. `answers` are pairs (text, first character or -1)."""

    id: str
    context: str
    question: str
    answers: tuple
    is_impossible: bool


class Starts(NamedTuple):
    """Questions of a training file whose first answer was not where `answer_start` says."""

    repaired: list  # ids; the answer occurs once in the paragraph, and that place is used
    dropped: list  # ids; it occurs never, or more than once


def read(path):
    """Reads the questions of a SQuAD file (v1.1 or v2.0, perhaps compressed), in order.

    Raises:
      InputError: the file is missing, damaged or no SQuAD file, or an id occurs twice.
    """
    content = read_json(path, File, "expected a SQuAD file, such as train-v1.1.json")
    questions = [
        _question(paragraph["context"], entry)
        for article in content["data"]
        for paragraph in article["paragraphs"]
        for entry in paragraph["qas"]
    ]
    if not questions:
        raise InputError(f"{path} has no questions; expected a SQuAD file with some")
    counts = collections.Counter(question.id for question in questions)
    name, count = counts.most_common(1)[0]
    if count > 1:
        raise InputError(f"{path} has the question id {name!r} {count} times; ids are unique")
    return questions


def read_json(path, kind, hint):
    """Reads a JSON file, perhaps compressed; InputError if it is not of the type `kind`."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; {hint}")
    with files.damage_as_input_error(path), files.open_bytes(path) as stream:
        text = stream.read()
    try:
        return json_files.parse(text, kind)
    except ValueError as error:
        raise InputError(f"{path}: {error}; {hint}") from None


def with_answers(questions, path, *, is_v2):
    """Checks the questions of a training file.

    An `answer_start` where the answer does not stand is corrected if the paragraph has the
    answer exactly once; otherwise the question is dropped.

    Args:
      questions: list of `Question`.
      path: their file, for errors.
      is_v2: whether questions may be without answer.

    Returns:
      (list of `Question` with at most one answer, `Starts`).

    Raises:
      InputError: a question has no answer and should have one.
    """
    kept, starts = [], Starts([], [])
    for question in questions:
        if question.is_impossible and is_v2:
            kept.append(question._replace(answers=()))
            continue
        if not question.answers:
            raise InputError(
                f"{path}: question {question.id} has no answer; training needs the answers"
                + ("" if is_v2 else ", and --task squad2 questions without one")
            )
        text, start = question.answers[0]
        if question.context[max(start, 0) :].startswith(text) and text and start >= 0:
            kept.append(question._replace(answers=((text, start),)))
        elif text and question.context.count(text) == 1:
            kept.append(question._replace(answers=((text, question.context.index(text)),)))
            starts.repaired.append(question.id)
        else:
            starts.dropped.append(question.id)
    if not kept:
        raise InputError(f"{path}: no answer stands in its paragraph; check the file")
    return kept, starts


def _question(context, entry):
    answers = tuple(
        (answer["text"], answer.get("answer_start", -1)) for answer in entry.get("answers", ())
    )
    return Question(
        entry["id"], context, entry["question"], answers, entry.get("is_impossible", False)
    )
