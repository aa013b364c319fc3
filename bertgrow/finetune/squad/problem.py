"""SQuAD as a task to fine-tune: windows of paragraphs, and the spans of answers."""

import json
from pathlib import Path

import numpy as np

from bertgrow.core import system_files
from bertgrow.core.errors import InputError
from bertgrow.finetune import sequences, tasks
from bertgrow.finetune.glue import file_of
from bertgrow.finetune.problem import Problem
from bertgrow.finetune.squad import answers, data, features, scoring

SHOWN = 20  # questions whose n-best lists the report shows
LISTED = 20  # ids in a note


def read(name, path, tokenizer, max_length, dev=None):
    """Reads SQuAD as a `Problem`.

    Args:
      name: "squad1" or "squad2".
      path: folder with train-v1.1.json and dev-v1.1.json (v2.0), or the training file.
      tokenizer: of the model.
      max_length: tokens of a window at most.
      dev: file to evaluate on; None: that of the folder.
    """
    is_v2, version = name == "squad2", "v2.0" if name == "squad2" else "v1.1"
    train_path, dev_path = _files(Path(path), version, dev)
    kept, starts = data.with_answers(data.read(train_path), train_path, is_v2=is_v2)
    questions = data.read(dev_path)
    if not is_v2:
        data.with_answers(questions, dev_path, is_v2=False)
    rows, _ = features.make(kept, tokenizer, length=max_length)
    dev_set = _DevSet(questions, tokenizer, max_length, is_v2)
    return Problem(
        name=name,
        train=_sequences(rows),
        dev=dict(dev=_sequences(dev_set.rows)),
        test={},
        classes=None,
        metric="best_f1" if is_v2 else "f1",
        head="spans",
        outputs=2,
        losses=tasks.spans,
        score=dev_set.score,
        write=dev_set.write,
        details=dev_set.details,
        notes=_notes(starts),
    )


class _DevSet:
    """The questions to evaluate on; its methods are those of a `Problem`.

    `values` are what the model says of all windows: `logits`, `numbers` and `loss`.
    """

    def __init__(self, questions, tokenizer, max_length, is_v2):
        self.questions, self._tokenizer, self._is_v2 = questions, tokenizer, is_v2
        self.rows, self._words = features.make(questions, tokenizer, length=max_length)
        self._last = None, None  # logits and answers of the last evaluation

    def _decode(self, values):
        logits = _ordered(values, len(self.rows))
        known, decoded = self._last  # in one read: runs in threads share the dev set
        # By content, as the last evaluation of a run and its predictions have equal logits.
        if known is None or not np.array_equal(known, logits):
            decoded = answers.decode(
                self.questions, self.rows, self._words, logits[..., 0], logits[..., 1],
                self._tokenizer,
            )  # fmt: skip
            self._last = logits, decoded
        return decoded

    def score(self, part, values):
        del part
        decoded = self._decode(values)
        if not self._is_v2:
            scores = scoring.score_v1(self.questions, decoded.predictions())
            return dict(loss=values["loss"], **_numbers(scores))
        scores = scoring.score_v2(self.questions, decoded.predictions(0.0))
        tuned = scoring.score_v2(self.questions, decoded.predictions(), decoded.null_odds)
        best = {name: value for name, value in tuned.items() if name.startswith("best_")}
        return dict(loss=values["loss"], **_numbers(scores), **best)

    def write(self, folder, split, part, values):
        del split
        decoded = self._decode(values)
        threshold = self.score(part, values)["best_f1_thresh"] if self._is_v2 else None
        files = {
            "predictions.json": decoded.predictions(threshold), "nbest.json": decoded.lists
        }  # fmt: skip
        if self._is_v2:
            files["null_odds.json"] = decoded.null_odds
        paths = [Path(folder) / file for file in files]
        for file, content in zip(paths, files.values(), strict=True):
            system_files.write_atomically(file, json.dumps(content, indent=1) + "\n")
        return paths

    def details(self, part, values):
        del part
        lists = self._decode(values).lists
        shown = [
            dict(question=each.question, best=lists[each.id][:3],
                 answers=sorted({text for text, _ in each.answers}))
            for each in self.questions[:: max(1, len(self.questions) // SHOWN)][:SHOWN]
        ]  # fmt: skip
        return dict(nbest=shown)


def _files(path, version, dev):
    if path.is_dir():
        train = file_of(path, f"train-{version}.json")
        dev = dev or file_of(path, f"dev-{version}.json")
        for file, part in ((train, "train"), (dev, "dev")):
            if file is None:
                raise InputError(
                    f"--data {path} has no {part}-{version}.json; or give a training file, and "
                    "--dev FILE"
                )
        return train, dev
    if dev is None:
        raise InputError("--data is a training file: give --dev FILE, or a folder with both")
    return path, dev


def _sequences(rows):
    return sequences.join(
        [row.tokens for row in rows],
        [row.start for row in rows],
        np.array([row.answer for row in rows], np.int32),
    )


def _ordered(values, count):
    is_row = values["numbers"] >= 0
    logits = np.empty((count, *values["logits"].shape[1:]), np.float32)
    logits[values["numbers"][is_row]] = values["logits"][is_row]
    return logits


def _numbers(scores):
    return {name: value for name, value in scores.items() if isinstance(value, float)}


def _notes(starts):
    """Sentences about the answers that were not where the file says."""
    sentences = {
        "answers are used where they stand, and not at their answer_start": starts.repaired,
        "questions are left out, since their answer is not at its answer_start and does not "
        "occur exactly once": starts.dropped,
    }
    return tuple(
        f"{len(ids)} {words}: {', '.join(ids[:LISTED])}" + ", ..." * (len(ids) > LISTED)
        for words, ids in sentences.items()
        if ids
    )
