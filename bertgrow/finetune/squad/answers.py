"""Answers of questions from the logits of their windows: n-best lists and null scores."""

from typing import NamedTuple

import numpy as np

from bertgrow.finetune.squad import realign

NUM_BEST, MAX_ANSWER = 20, 30  # starts and ends of a window; tokens of an answer


class Answered(NamedTuple):
    """Answers of all questions, by id."""

    best: dict  # {id: text}, the best answer that is not empty
    null_odds: dict  # {id: null score minus score of the best answer}
    lists: dict  # {id: [{"text", "probability", "start_logit", "end_logit"}]}, the best first

    def predictions(self, threshold=None):
        """{id: text}; "" where the null odds are above the threshold, if there is one."""
        return {
            name: "" if threshold is not None and self.null_odds[name] > threshold else text
            for name, text in self.best.items()
        }


def decode(questions, features, words, start_logits, end_logits, tokenizer):
    """Finds the answers, as `write_predictions` of Google's `run_squad.py`.

    An answer begins where its window has the most context, and has at most `MAX_ANSWER`
    tokens. The null score is the smallest sum of both logits at [CLS] over the windows.

    Args:
      questions, features, words: from `features.make`.
      start_logits, end_logits: float32 [features, length].
      tokenizer: that of the features.

    Returns:
      `Answered`.
    """
    windows = {}
    for number, feature in enumerate(features):
        windows.setdefault(feature.question, []).append(number)
    answered = Answered({}, {}, {})
    for number, question in enumerate(questions):
        rows = windows.get(number, [])
        spans = [
            span
            for row in rows
            for span in _spans(features[row], start_logits[row], end_logits[row])
        ]
        spans.sort(key=lambda span: -(span.start_logit + span.end_logit))
        listed = _texts(spans, words[number], tokenizer)
        null = min((float(start_logits[row][0]) + float(end_logits[row][0]) for row in rows),
                   default=0.0)  # fmt: skip
        best = listed[0] if listed else dict(text="", start_logit=0.0, end_logit=0.0)
        answered.best[question.id] = best["text"]
        answered.null_odds[question.id] = null - best["start_logit"] - best["end_logit"]
        answered.lists[question.id] = _with_probabilities(listed)
    return answered


class _Span(NamedTuple):
    tokens: np.ndarray
    first_word: int
    last_word: int
    start_logit: float
    end_logit: float


def _spans(feature, start_logits, end_logits):
    """Yields the spans of one window, from its best starts and ends."""
    starts = np.argsort(-start_logits, kind="stable")[:NUM_BEST]
    ends = np.argsort(-end_logits, kind="stable")[:NUM_BEST]
    stop = feature.start + len(feature.words)
    for start in starts[(starts >= feature.start) & (starts < stop)]:
        place = start - feature.start
        if not feature.has_max_context[place]:
            continue
        for end in ends[(ends >= start) & (ends < min(stop, start + MAX_ANSWER))]:
            yield _Span(
                feature.tokens[start : end + 1],
                feature.words[place], feature.words[end - feature.start],
                float(start_logits[start]), float(end_logits[end]),
            )  # fmt: skip


def _texts(spans, words, tokenizer):
    """The best `NUM_BEST` answers with different texts."""
    listed, texts = [], set()
    for span in spans:
        if len(listed) == NUM_BEST:
            break
        text = realign.final_text(
            [tokenizer.tokens[token] for token in span.tokens],
            words[span.first_word : span.last_word + 1], tokenizer,
        )  # fmt: skip
        if text not in texts:
            texts.add(text)
            listed.append(
                dict(text=text, start_logit=span.start_logit, end_logit=span.end_logit)
            )
    return listed


def _with_probabilities(listed):
    if not listed:
        return []
    scores = np.array([each["start_logit"] + each["end_logit"] for each in listed])
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    return [
        each | dict(probability=float(share))
        for each, share in zip(listed, shares, strict=True)
    ]
