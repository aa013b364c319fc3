"""Rows of sentence pairs for next-sentence prediction: [CLS] A [SEP] B [SEP].

Devlin et al. (2019), "Next Sentence Prediction", as its published data preparation does it:
sentences are gathered up to a target length, A is a random beginning of them, and B is
either the rest or, half of the time, text from another document, the unused sentences then
being put back. One document in ten has a random shorter target; it makes more and shorter
rows, which is where most of the padding comes from. Both segments stay whole ranges of
text, so a row is two pieces.
"""

import itertools
import random

import numpy as np

from bertgrow.data.sequences import assembly

RANDOM = 0.5  # share of rows whose second segment is from another document
SHORT = 0.1  # share of documents with a random shorter target


def pair(lengths, sentences, *, length, seed):
    """Plans the pairs of a block; a block of fewer than two documents gives no row.

    Args:
      lengths: int [sentences], tokens of each sentence, in text order.
      sentences: int [documents], how many of them each document has.
      length: int, tokens a row.
      seed: int, what the draws follow from.
    """
    starts = [0, *itertools.accumulate(map(int, lengths))]  # of sentences, in tokens
    firsts = [0, *itertools.accumulate(map(int, sentences))]  # of documents, in sentences
    planner = _Planner(starts, firsts, length - 3, random.Random(seed).random)
    rows = []
    if len(firsts) > 2:
        for document in range(len(firsts) - 1):
            rows.extend(planner.document(document))
    pieces = np.array(rows, np.int64).reshape(-1, 5)  # start and size of A and B, is_random
    ones = np.ones(2 * len(pieces), bool)
    return assembly.Plan(
        first=np.arange(len(pieces) + 1) * 2,
        source=pieces[:, [0, 2]].reshape(-1),
        size=pieces[:, [1, 3]].reshape(-1),
        ends=ones,
        type=np.tile(np.array([0, 1], np.int8), len(pieces)),
        is_random=pieces[:, 4].astype(np.int32),
    )


class _Planner:
    """Draws rows from one block; `draw()` gives floats in [0, 1)."""

    def __init__(self, starts, firsts, room, draw):
        self.starts, self.firsts, self.room, self.draw = starts, firsts, room, draw

    def document(self, number):
        """Rows (start A, size A, start B, size B, is_random) of one document."""
        begin, end = self.firsts[number], self.firsts[number + 1]
        target = self._target()
        while begin < end:
            stop = begin + 1
            while stop < end and self.starts[stop] - self.starts[begin] < target:
                stop += 1
            # A takes between one and all but one of the gathered sentences.
            middle = begin + 1 + self._below(stop - begin - 1) if stop - begin > 1 else stop
            size = self.starts[middle] - self.starts[begin]
            first = (self.starts[begin], size)
            is_random = stop - begin == 1 or self.draw() < RANDOM
            if is_random:
                second = self._elsewhere(number, target - size)
                stop = middle  # what A did not use comes again
            else:
                second = (self.starts[middle], self.starts[stop] - self.starts[middle])
            yield (*self._fitted(first, second), int(is_random))
            begin = stop

    def _target(self):
        if self.draw() < SHORT:
            return 2 + self._below(self.room - 1)
        return self.room

    def _elsewhere(self, number, target):
        """Sentences from a random place of another document, up to the target."""
        other = self._below(len(self.firsts) - 2)
        other += other >= number
        begin, end = self.firsts[other], self.firsts[other + 1]
        begin += self._below(end - begin)
        stop = begin + 1
        while stop < end and self.starts[stop] - self.starts[begin] < target:
            stop += 1
        return self.starts[begin], self.starts[stop] - self.starts[begin]

    def _fitted(self, first, second):
        """Shortens the longer of two (start, size) from a random end, token by token."""
        (start_a, a), (start_b, b) = first, second
        while a + b > self.room:
            front = self.draw() < 0.5
            if a > b:
                a, start_a = a - 1, start_a + front
            else:
                b, start_b = b - 1, start_b + front
        return start_a, a, start_b, b

    def _below(self, limit):
        return int(self.draw() * limit)
