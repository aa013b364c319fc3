"""Builds sentence pairs for next-sentence prediction: [CLS] A [SEP] B [SEP].

Follows the published data preparation of Devlin et al. (2019), "Next Sentence Prediction".
Sentences are collected up to a target length. A is a random number of them from the start. B
is the rest or, half of the time, text from another document; the unused sentences then start
the next pair. One document in ten has a random shorter target. Such a document gives more and
shorter sequences, the source of most of the padding. Both segments are contiguous ranges of
text, so a sequence has two spans.
"""

import itertools
import random

import numpy as np

from bertgrow.data.sequences import assembly

RANDOM_FRACTION = 0.5  # fraction of sequences whose second segment is from another document
SHORT_FRACTION = 0.1  # fraction of documents with a random shorter target


def pair(lengths, sentences, *, length, seed):
    """Plans the pairs of a block; a block of fewer than two documents gives none.

    Args:
      lengths: int [sentences], number of tokens in each sentence, in text order.
      sentences: int [documents], number of sentences in each document.
      length: int, tokens per sequence.
      seed: int, seed of all random choices.

    Returns:
      A `Plan`.
    """
    starts = [0, *itertools.accumulate(map(int, lengths))]  # of sentences, in tokens
    firsts = [0, *itertools.accumulate(map(int, sentences))]  # of documents, in sentences
    planner = _Planner(starts, firsts, length - 3, random.Random(seed).random)
    pairs = []
    if len(firsts) > 2:
        for document in range(len(firsts) - 1):
            pairs.extend(planner.document(document))
    table = np.array(pairs, np.int64).reshape(-1, 5)  # start and size of A and B, is_random
    ones = np.ones(2 * len(table), bool)
    return assembly.Plan(
        first=np.arange(len(table) + 1) * 2,
        source=table[:, [0, 2]].reshape(-1),
        size=table[:, [1, 3]].reshape(-1),
        ends=ones,
        type=np.tile(np.array([0, 1], np.int8), len(table)),
        is_random=table[:, 4].astype(np.int32),
    )


class _Planner:
    """Draws pairs from one block; `draw()` returns a float in [0, 1)."""

    def __init__(self, starts, firsts, room, draw):
        self.starts, self.firsts, self.room, self.draw = starts, firsts, room, draw

    def document(self, number):
        """Yields the pairs of a document: (start A, size A, start B, size B, is_random)."""
        begin, end = self.firsts[number], self.firsts[number + 1]
        target = self._target()
        while begin < end:
            stop = begin + 1
            while stop < end and self.starts[stop] - self.starts[begin] < target:
                stop += 1
            # Of several sentences, A has at least one and leaves at least one.
            middle = begin + 1 + self._below(stop - begin - 1) if stop - begin > 1 else stop
            size = self.starts[middle] - self.starts[begin]
            first = (self.starts[begin], size)
            is_random = stop - begin == 1 or self.draw() < RANDOM_FRACTION
            if is_random:
                second = self._other_document(number, target - size)
                stop = middle  # sentences after A are used again
            else:
                second = (self.starts[middle], self.starts[stop] - self.starts[middle])
            yield (*self._fitted(first, second), int(is_random))
            begin = stop

    def _target(self):
        """Draws the number of tokens of a document's sequences, without [CLS] and [SEP]."""
        if self.draw() < SHORT_FRACTION:
            return 2 + self._below(self.room - 1)
        return self.room

    def _other_document(self, number, target):
        """Selects sentences from a random place in another document, up to the target."""
        other = self._below(len(self.firsts) - 2)
        other += other >= number
        begin, end = self.firsts[other], self.firsts[other + 1]
        begin += self._below(end - begin)
        stop = begin + 1
        while stop < end and self.starts[stop] - self.starts[begin] < target:
            stop += 1
        return self.starts[begin], self.starts[stop] - self.starts[begin]

    def _fitted(self, first, second):
        """Truncates the longer of two (start, size) at random ends, token by token."""
        (start_a, a), (start_b, b) = first, second
        while a + b > self.room:
            front = self.draw() < 0.5
            if a > b:
                a, start_a = a - 1, start_a + front
            else:
                b, start_b = b - 1, start_b + front
        return start_a, a, start_b, b

    def _below(self, limit):
        """Draws a whole number of at least 0 and below `limit`."""
        return int(self.draw() * limit)
