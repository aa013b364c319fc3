"""Exact match and F1 of SQuAD, counted as the official evaluation scripts do.

Rajpurkar et al., 2016, section 6.1 (v1.1), and 2018, section 4 (v2.0).
"""

import collections
import re
import string

from bertgrow.core.errors import InputError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = set(string.punctuation)


def score_v1(questions, predictions):
    """Scores of v1.1; a question without a prediction scores 0.

    Args:
      questions: list of `data.Question`.
      predictions: {id: answer}; other ids are ignored, as in the official script.

    Returns:
      {"exact_match", "f1"} in percent, and counts `total` and `missing`.
    """
    _check(questions)
    exact = f1 = missing = 0
    for question in questions:
        if question.id not in predictions:
            missing += 1
            continue
        pairs = [(text, predictions[question.id]) for text, _ in question.answers]
        exact += max(_exact(*pair) for pair in pairs)
        f1 += max(_overlap(*pair) for pair in pairs)
    total = len(questions)
    return dict(
        exact_match=100.0 * exact / total, f1=100.0 * f1 / total, total=total, missing=missing
    )


def score_v2(questions, predictions, null_odds=None, threshold=None):
    """Scores of v2.0.

    The official script leaves a question without a prediction out of the totals, and stops
    where that question is of a subset; here the totals of subsets leave it out, too.

    Args:
      questions: list of `data.Question`.
      predictions: {id: answer}, "" for no answer; other ids are ignored.
      null_odds: {id: score that the question has no answer}; gives the best thresholds.
      threshold: a question counts as unanswered above this score; None: none does.

    Returns:
      {"exact", "f1", "total", "HasAns_exact", ...}, scores in percent, `missing`, and with
      `null_odds` also `best_exact`, `best_exact_thresh`, `best_f1` and `best_f1_thresh`.
    """
    has_answer = {each.id: bool(each.answers) for each in questions}
    raw = {
        question.id: _best(question, predictions[question.id])
        for question in questions
        if question.id in predictions
    }
    if not raw:
        raise InputError("no prediction has an id of the data; give predictions for its ids")
    scores = raw
    if threshold is not None:
        scores = {
            name: pair if null_odds.get(name, 0.0) <= threshold else (unanswered,) * 2
            for name, pair in raw.items()
            for unanswered in [float(not has_answer[name])]
        }
    result = _means("", list(scores.values()))
    for prefix, wanted in (("HasAns_", True), ("NoAns_", False)):
        chosen = [pair for name, pair in scores.items() if has_answer[name] == wanted]
        result |= _means(prefix, chosen) if chosen else {}
    if null_odds is not None:
        for place, name in enumerate(("exact", "f1")):
            single = {each: pair[place] for each, pair in raw.items()}
            best = best_threshold(single, predictions, null_odds, has_answer)
            result |= {f"best_{name}": best[0], f"best_{name}_thresh": best[1]}
    return result | dict(missing=len(questions) - len(raw))


def best_threshold(scores, predictions, null_odds, has_answer):
    """The highest score over all thresholds on `null_odds`.

    Args:
      scores: {id: score from 0 to 1 of its prediction}.
      predictions: {id: answer}.
      null_odds: {id: score that the question has no answer}.
      has_answer: {id: bool} of all questions.

    Returns:
      (score in percent, lowest threshold that reaches it).
    """
    current = best = sum(not answered for answered in has_answer.values())
    threshold = 0.0
    for name in sorted(null_odds, key=null_odds.get):
        if name not in scores:
            continue
        if has_answer[name]:
            current += scores[name]
        elif predictions[name]:
            current -= 1
        if current > best:
            best, threshold = current, null_odds[name]
    return 100.0 * best / len(scores), threshold


def normalize(answer):
    """Lower case without punctuation, articles and repeated white space."""
    bare = "".join(letter for letter in answer.lower() if letter not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def _best(question, prediction):
    """(exact, F1) against the best answer; "" is the answer where there is none."""
    answers = [text for text, _ in question.answers if normalize(text)] or [""]
    return (
        float(max(_exact(text, prediction) for text in answers)),
        max(_overlap_or_empty(text, prediction) for text in answers),
    )


def _exact(answer, prediction):
    return normalize(answer) == normalize(prediction)


def _overlap(answer, prediction):
    """F1 of the words of two answers."""
    expected, words = normalize(answer).split(), normalize(prediction).split()
    same = sum((collections.Counter(expected) & collections.Counter(words)).values())
    if not same:
        return 0.0
    precision, recall = same / len(words), same / len(expected)
    return 2 * precision * recall / (precision + recall)


def _overlap_or_empty(answer, prediction):
    """`_overlap`; if one of both has no words, 1 if the other has none either."""
    if not normalize(answer) or not normalize(prediction):
        return float(_exact(answer, prediction))
    return _overlap(answer, prediction)


def _means(prefix, pairs):
    total = len(pairs)
    exact, f1 = (100.0 * sum(column) / total for column in zip(*pairs, strict=True))
    return {f"{prefix}exact": exact, f"{prefix}f1": f1, f"{prefix}total": total}


def _check(questions):
    for question in questions:
        if not question.answers:
            raise InputError(
                f"question {question.id} has no answer: the data are v2.0, give --task squad2"
            )
