"""Sequences of question and paragraph, as `run_squad.py` of Google's BERT makes them.

A paragraph that does not fit is cut into windows that overlap (Devlin et al., 2019, released
code). The published features of MLPerf come out equal, see tests/finetune/test_squad.py.
"""

import re
from typing import NamedTuple

import numpy as np

LENGTH, STRIDE, QUESTION = 384, 128, 64  # tokens; as published
_WORD = re.compile("[^ \t\r\n\u202f]+")


class Feature(NamedTuple):
    """One window. Its context begins at token `start` of the sequence."""

    question: int  # number in the list of questions
    tokens: np.ndarray  # int32, [CLS] question [SEP] context [SEP]
    start: int  # tokens of the first segment: [CLS] question [SEP]
    words: np.ndarray  # int32 [context tokens], number of the word of each token
    has_max_context: np.ndarray  # bool [context tokens], false where another window has more
    answer: tuple  # (first token, last token) in the sequence; (0, 0): not in this window


class _Paragraph(NamedTuple):
    words: list  # str
    word_of: np.ndarray  # int [characters], the word that a character is in, or is behind
    tokens: np.ndarray  # int32
    word_of_token: np.ndarray  # int32 [tokens]
    first: np.ndarray  # int32 [words + 1], first token of each word


def make(questions, tokenizer, *, length=LENGTH, stride=STRIDE, max_question=QUESTION):
    """Makes the features of questions, in order.

    Args:
      questions: list of `data.Question`; the first answer, if there is one, gives `answer`.
      tokenizer: `bertgrow.data.corpus.vocabulary.Tokenizer`.
      length: tokens of a sequence at most.
      stride: tokens from the start of a window to that of the next.
      max_question: tokens of a question at most, and at most a third of `length`; the rest
        is cut off.

    Returns:
      (list of `Feature`, list of the words of each question's paragraph).
    """
    vocab, features = tokenizer.vocab, []
    max_question = min(max_question, length // 3)
    paragraphs = _paragraphs({question.context for question in questions}, tokenizer)
    encoded = tokenizer.encode([question.question for question in questions])
    answers = _encode_each({text for text, _ in map(_first_answer, questions)}, tokenizer)
    for number, (question, ids) in enumerate(zip(questions, encoded, strict=True)):
        paragraph = paragraphs[question.context]
        head = np.concatenate([[vocab.cls_id], ids[:max_question], [vocab.sep_id]])
        answer = _answer(question, paragraph, answers)
        windows = _windows(len(paragraph.tokens), length - len(head) - 1, stride)
        for (begin, end), has_max in zip(windows, _max_context(windows), strict=True):
            tokens = np.concatenate([head, paragraph.tokens[begin:end], [vocab.sep_id]])
            features.append(Feature(
                question=number,
                tokens=tokens.astype(np.int32),
                start=len(head),
                words=paragraph.word_of_token[begin:end],
                has_max_context=has_max,
                answer=_in_window(answer, begin, end, len(head)),
            ))  # fmt: skip
    return features, [paragraphs[question.context].words for question in questions]


def _paragraphs(contexts, tokenizer):
    """{context: its `_Paragraph`}. Each different word is encoded once."""
    found = {context: list(_WORD.finditer(context)) for context in contexts}
    ids = _encode_each({match[0] for matches in found.values() for match in matches}, tokenizer)
    return {context: _paragraph(context, matches, ids) for context, matches in found.items()}


def _paragraph(context, matches, ids):
    words = [match[0] for match in matches]
    starts = [match.start() for match in matches]
    word_of = np.searchsorted(starts, np.arange(len(context)), side="right") - 1
    tokens = [ids[word] for word in words]
    lengths = np.fromiter(map(len, tokens), np.int32, len(tokens))
    return _Paragraph(
        words=words,
        word_of=word_of,
        tokens=np.concatenate(tokens or [np.zeros(0, np.int32)]),
        word_of_token=np.repeat(np.arange(len(words), dtype=np.int32), lengths),
        first=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
    )


def _encode_each(texts, tokenizer):
    """{text: its tokens} of different texts."""
    texts = list(texts)
    return dict(zip(texts, tokenizer.encode(texts), strict=True))


def _first_answer(question):
    """(text, start) of the first answer; ("", -1) without answers."""
    return question.answers[0] if question.answers else ("", -1)


def _answer(question, paragraph, encoded):
    """(first, last) token of the answer in the paragraph; None if it has no known place.

    The words of the answer are narrowed to the tokens that are exactly the answer, where there
    are such ("(1895-1943)" to "1895").

    Args:
      encoded: {text of an answer: its tokens}.
    """
    text, start = _first_answer(question)
    if start < 0 or not text or question.context[start : start + len(text)] != text:
        return None
    begin = paragraph.first[paragraph.word_of[start]]
    end = paragraph.first[paragraph.word_of[start + len(text) - 1] + 1]
    wanted = encoded[text]
    for first in range(begin, end):
        if np.array_equal(paragraph.tokens[first : min(first + len(wanted), end)], wanted):
            return first, first + len(wanted) - 1
    return int(begin), int(end) - 1


def _windows(num_tokens, room, stride):
    """Pairs (begin, end) of windows of at most `room` tokens."""
    windows, begin = [], 0
    while begin < num_tokens:
        end = min(begin + room, num_tokens)
        windows.append((begin, end))
        if end == num_tokens:
            break
        begin += min(end - begin, stride)
    return windows


def _max_context(windows):
    """Yields for each window, bool [tokens], where it has the most context of all windows.

    The context of a token is the smaller number of tokens on its two sides.
    """
    if not windows:
        return
    if len(windows) == 1:
        yield np.ones(windows[0][1], bool)
        return
    scores = np.full((len(windows), windows[-1][1]), -np.inf)
    for number, (begin, end) in enumerate(windows):
        place = np.arange(end - begin)
        scores[number, begin:end] = np.minimum(place, place[::-1]) + 0.01 * (end - begin)
    best = scores.argmax(axis=0)
    for number, (begin, end) in enumerate(windows):
        yield best[begin:end] == number


def _in_window(answer, begin, end, offset):
    if answer is None or answer[0] < begin or answer[1] >= end:
        return 0, 0
    return int(answer[0] - begin + offset), int(answer[1] - begin + offset)
