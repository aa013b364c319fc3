"""Packs full sentences into sequences with little padding.

Follows FULL-SENTENCES of RoBERTa (Liu et al., 2019, section 4.2): a sequence may contain
several documents, separated by [SEP]. If the next sentence does not fit, the packer takes the
longest one that fits from a window of the following sentences. The skipped sentences come
first in the next sequence. If more than 1/16 of a sequence would stay padding, the packer
splits the next sentence: its beginning fills the sequence and its rest starts the next one.
That happens only at short lengths. A "piece" is a sentence, or a part of one that was split.
"""

import numpy as np

from bertgrow.data.sequences import assembly

WINDOW = 64  # unread pieces to choose from
EMPTIEST = 16  # at most 1/16 of a sequence may stay padding


def pack(lengths, sentences, *, length, window=WINDOW):
    """Plans the packed sequences of a block.

    Args:
      lengths: int [sentences], number of tokens in each sentence, in text order.
      sentences: int [documents], number of sentences in each document.
      length: int, tokens per sequence.
      window: int, number of unread pieces to choose from.

    Returns:
      A `Plan`.
    """
    document = np.repeat(np.arange(len(sentences)), sentences)
    pieces = cut(np.asarray(lengths, np.int64), document, room=length - 2)
    packer = _Packer(*(values.tolist() for values in pieces), length, window)
    rows = packer.rows()
    number = np.fromiter(map(len, rows), np.int64, len(rows))
    piece = np.fromiter((p for row in rows for p in row), np.int64, int(number.sum()))
    source, size, document = (
        np.array(values, np.int64)[piece]
        for values in (packer.source, packer.size, packer.document)
    )
    first = np.concatenate([[0], np.cumsum(number)])
    ends = np.ones(len(piece), bool)
    ends[:-1] = document[1:] != document[:-1]
    ends[first[1:] - 1] = True
    return assembly.Plan(first, source, size, ends, np.zeros(len(piece), np.int8), None)


def cut(lengths, document, *, room):
    """Cuts sentences into pieces of at most `room` tokens.

    Returns:
      source, size, document: int64 [pieces].
    """
    number = np.maximum(1, -(-lengths // room))
    inside = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    source = np.repeat(np.cumsum(lengths) - lengths, number) + inside * room
    size = np.minimum(np.repeat(lengths, number) - inside * room, room)
    return source, size, np.repeat(document, number)


class _Packer:
    """Packs pieces with a window over the unread ones. Plain lists make the loop fast."""

    def __init__(self, source, size, document, length, window):
        self.source, self.size, self.document = source, size, document
        self.length, self.window = length, window
        self.unread, self.end = 0, len(size)
        self.ahead, self.sizes = [], []  # the window: pieces in text order, and their sizes

    def rows(self):
        """Returns the list of pieces of each sequence, in text order."""
        rows = []
        while self._look_ahead():
            row, left = self._consecutive()
            present = {self.document[piece] for piece in row}
            while left > 0 and (place := self._longest(present, left)) is not None:
                left -= self._take(place, row, present)
            if left * EMPTIEST > self.length and self.ahead:
                self._fill(row, present, left)
            rows.append(sorted(row, key=self.source.__getitem__))
        return rows

    def _look_ahead(self):
        last = min(self.unread + self.window - len(self.ahead), self.end)
        self.ahead.extend(range(self.unread, last))
        self.sizes.extend(self.size[self.unread : last])
        self.unread = max(last, self.unread)
        return self.ahead

    def _consecutive(self):
        """Takes the next pieces until one does not fit; returns them and the remaining room."""
        left, number, before = self.length - 1, 0, -1
        for piece, size in zip(self.ahead, self.sizes, strict=True):
            cost = size + (self.document[piece] != before)
            if cost > left:
                break
            left -= cost
            before = self.document[piece]
            number += 1
        row = self.ahead[:number]
        del self.ahead[:number], self.sizes[:number]
        return row, left

    def _longest(self, present, left):
        """Returns the index in the window of the longest piece that fits, or None."""
        longest, found = 0, None
        for place, size in enumerate(self.sizes):
            if longest < size <= left and size + self._mark(place, present) <= left:
                longest, found = size, place
        return found

    def _mark(self, place, present):
        """Returns 1 if the piece adds a document, and so a [SEP], to the sequence; else 0."""
        return self.document[self.ahead[place]] not in present

    def _take(self, place, row, present):
        cost = self.sizes.pop(place) + self._mark(place, present)
        row.append(self.ahead.pop(place))
        present.add(self.document[row[-1]])
        return cost

    def _fill(self, row, present, left):
        """Splits the next piece and adds its beginning to the sequence."""
        head = left - self._mark(0, present)
        piece = self.ahead[0]
        self.source.append(self.source[piece] + head)
        self.size.append(self.size[piece] - head)
        self.document.append(self.document[piece])
        self.size[piece] = head
        row.append(piece)
        self.ahead[0], self.sizes[0] = len(self.size) - 1, self.size[-1]
