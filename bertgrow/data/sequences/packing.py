"""Packs full sentences into sequences with little padding.

Follows FULL-SENTENCES of RoBERTa (Liu et al., 2019, section 4.2): a sequence may contain
several documents, separated by [SEP]. If the next sentence does not fit, the packer takes the
longest one that fits from a window of the following sentences. The skipped sentences come
first in the next sequence. If more than 1/16 of a sequence would stay padding, the packer
splits the next sentence: its beginning fills the sequence and its rest starts the next one.
That happens only at short lengths. A "span" is a sentence, or a part of one that was split.
"""

import numpy as np

from bertgrow.data.sequences import assembly

WINDOW = 64  # unread spans to choose from
EMPTIEST = 16  # at most 1/16 of a sequence may stay padding


def pack(lengths, sentences, *, length, window=WINDOW):
    """Plans the packed sequences of a block.

    Args:
      lengths: int [sentences], number of tokens in each sentence, in text order.
      sentences: int [documents], number of sentences in each document.
      length: int, tokens per sequence.
      window: int, number of unread spans to choose from.

    Returns:
      A `Plan`.
    """
    document = np.repeat(np.arange(len(sentences)), sentences)
    spans = cut(np.asarray(lengths, np.int64), document, room=length - 2)
    packer = _Packer(*(values.tolist() for values in spans), length, window)
    sequences = packer.sequences()
    number = np.fromiter(map(len, sequences), np.int64, len(sequences))
    span = np.fromiter(
        (span for sequence in sequences for span in sequence), np.int64, int(number.sum())
    )
    source, size, document = (
        np.array(values, np.int64)[span]
        for values in (packer.source, packer.size, packer.document)
    )
    first = np.concatenate([[0], np.cumsum(number)])
    ends = np.ones(len(span), bool)
    ends[:-1] = document[1:] != document[:-1]
    ends[first[1:] - 1] = True
    return assembly.Plan(first, source, size, ends, np.zeros(len(span), np.int8), None)


def cut(lengths, document, *, room):
    """Cuts sentences into spans of at most `room` tokens.

    Returns:
      source, size, document: int64 [spans].
    """
    number = np.maximum(1, -(-lengths // room))
    inside = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    source = np.repeat(np.cumsum(lengths) - lengths, number) + inside * room
    size = np.minimum(np.repeat(lengths, number) - inside * room, room)
    return source, size, np.repeat(document, number)


class _Packer:
    """Packs spans with a window over the unread ones. Plain lists make the loop fast."""

    def __init__(self, source, size, document, length, window):
        self.source, self.size, self.document = source, size, document
        self.length, self.window = length, window
        self.unread, self.end = 0, len(size)
        self.ahead, self.sizes = [], []  # the window: spans in text order, and their sizes

    def sequences(self):
        """Returns the list of spans of each sequence, in text order."""
        sequences = []
        while self._look_ahead():
            sequence, room_left = self._consecutive()
            documents = {self.document[span] for span in sequence}
            while room_left > 0 and (place := self._longest(documents, room_left)) is not None:
                room_left -= self._take(place, sequence, documents)
            if room_left * EMPTIEST > self.length and self.ahead:
                self._fill(sequence, documents, room_left)
            sequences.append(sorted(sequence, key=self.source.__getitem__))
        return sequences

    def _look_ahead(self):
        last = min(self.unread + self.window - len(self.ahead), self.end)
        self.ahead.extend(range(self.unread, last))
        self.sizes.extend(self.size[self.unread : last])
        self.unread = max(last, self.unread)
        return self.ahead

    def _consecutive(self):
        """Takes the next spans until one does not fit; returns them and the remaining room."""
        room_left, number, before = self.length - 1, 0, -1
        for span, size in zip(self.ahead, self.sizes, strict=True):
            cost = size + (self.document[span] != before)
            if cost > room_left:
                break
            room_left -= cost
            before = self.document[span]
            number += 1
        sequence = self.ahead[:number]
        del self.ahead[:number], self.sizes[:number]
        return sequence, room_left

    def _longest(self, documents, room_left):
        """Returns the index in the window of the longest span that fits, or None."""
        longest, best = 0, None
        for place, size in enumerate(self.sizes):
            if longest < size <= room_left and size + self._mark(place, documents) <= room_left:
                longest, best = size, place
        return best

    def _mark(self, place, documents):
        """Returns 1 if the span adds a document, and so a [SEP], to the sequence; else 0."""
        return self.document[self.ahead[place]] not in documents

    def _take(self, place, sequence, documents):
        cost = self.sizes.pop(place) + self._mark(place, documents)
        sequence.append(self.ahead.pop(place))
        documents.add(self.document[sequence[-1]])
        return cost

    def _fill(self, sequence, documents, room_left):
        """Splits the next span and adds its beginning to the sequence."""
        head = room_left - self._mark(0, documents)
        span = self.ahead[0]
        self.source.append(self.source[span] + head)
        self.size.append(self.size[span] - head)
        self.document.append(self.document[span])
        self.size[span] = head
        sequence.append(span)
        self.ahead[0], self.sizes[0] = len(self.size) - 1, self.size[-1]
