"""Token sequences of examples, as endless shuffled training data and as batches in order."""

import functools
import hashlib
from typing import NamedTuple

import numpy as np

ROUNDED = 8  # the length of a batch is a multiple of this


class Sequences(NamedTuple):
    """Sequences of all examples of a set, one behind the other."""

    tokens: np.ndarray  # int32 [all tokens]
    starts: np.ndarray  # int64 [sequences + 1]
    firsts: np.ndarray  # int32 [sequences], tokens of the first segment
    labels: np.ndarray  # [sequences, ...]; zeros where there are none

    def __len__(self):
        return len(self.firsts)

    @property
    def longest(self):
        """Tokens of the longest sequence."""
        return int(np.diff(self.starts).max())

    def digest(self):
        """sha256 of everything."""
        content = hashlib.sha256()
        for array in self:
            content.update(np.ascontiguousarray(array).tobytes())
        return content.hexdigest()

    def batch(self, numbers, length, pad_id, size=None):
        """A batch of the network and the task, a dict of arrays [size, ...].

        Args:
          numbers: int [sequences], the places of its sequences.
          length: tokens of a row.
          pad_id: token behind the end of a sequence.
          size: rows; by default as many as sequences. Rows without a sequence have weight 0
            and number -1.
        """
        size = size or len(numbers)
        tokens = np.full((size, length), pad_id, np.int32)
        types = np.zeros((size, length), np.int32)
        mask = np.zeros((size, length), bool)
        labels = np.zeros((size, *self.labels.shape[1:]), self.labels.dtype)
        for row, number in enumerate(numbers):
            sequence = self.tokens[self.starts[number] : self.starts[number + 1]]
            tokens[row, : len(sequence)] = sequence
            types[row, self.firsts[number] : len(sequence)] = 1
            mask[row, : len(sequence)] = True
        mask[len(numbers) :, 0] = True  # attention needs one key
        labels[: len(numbers)] = self.labels[numbers]
        weights = (np.arange(size) < len(numbers)).astype(np.float32)
        known = np.full(size, -1, np.int32)
        known[: len(numbers)] = numbers
        ids = np.stack([known, known], axis=1).astype(np.uint32)
        return dict(
            tokens=tokens, types=types, mask=mask, labels=labels, weights=weights, ids=ids,
            numbers=known,
        )  # fmt: skip


def join(rows, firsts, labels=None):
    """Makes `Sequences` of a list of int32 arrays."""
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    labels = np.zeros(len(rows), np.int32) if labels is None else labels
    return Sequences(np.concatenate(rows), starts, np.array(firsts, np.int32), labels)


def encode(examples, tokenizer, max_length):
    """Makes the `Sequences` of `examples.Examples`: [CLS] text [SEP], or with a second text.

    Of two texts the longer one loses its last token until both fit, as in Google's code.
    """
    vocab = tokenizer.vocab
    texts = tokenizer.encode(examples.texts)
    pairs = tokenizer.encode(examples.pairs) if examples.pairs else [None] * len(texts)
    rows, firsts = [], []
    for text, pair in zip(texts, pairs, strict=True):
        room = max_length - 2 if pair is None else max_length - 3
        first, second = _fit(len(text), 0 if pair is None else len(pair), room)
        row = [[vocab.cls_id], text[:first], [vocab.sep_id]]
        firsts.append(first + 2)
        if pair is not None:
            row += [pair[:second], [vocab.sep_id]]
        rows.append(np.concatenate(row).astype(np.int32))
    return join(rows, firsts, examples.labels)


def batches(sequences, *, batch, length, pad_id):
    """Returns all sequences in order, as a list of batches; the last one is filled up."""
    return [
        sequences.batch(
            np.arange(start, min(start + batch, len(sequences))), length, pad_id, size=batch
        )
        for start in range(0, len(sequences), batch)
    ]


class Shuffled:
    """Endless training sequences, in a new order every epoch, for `data.sequences.pipeline`.

    Number n of the run is a pure function of the seed, so a position is this number.
    """

    stores = ()  # a stream of token stores has some

    def __init__(self, sequences, *, length, pad_id, seed):
        self.sequences, self.length, self.pad_id, self.seed = sequences, length, pad_id, seed

    def start(self):
        return {"row": 0, "cursors": []}

    def epoch_sequences(self):
        return len(self.sequences)

    def take(self, position, count):
        """The places of the next `count` sequences, and the position after them."""
        row, size = position["row"], len(self.sequences)
        numbers = np.arange(row, row + count)
        chosen = [
            _order(self.seed, epoch, size)[numbers[numbers // size == epoch] % size]
            for epoch in range(row // size, (row + count - 1) // size + 1)
        ]
        return np.concatenate(chosen), {"row": row + count, "cursors": []}

    def read(self, numbers):
        return self.sequences.batch(numbers, self.length, self.pad_id)


@functools.lru_cache(2)  # a batch may be of two epochs
def _order(seed, epoch, size):
    return np.random.default_rng((seed, epoch)).permutation(size)


def fitting_length(sets, limit):
    """Length of the batches of several sets: that of their longest sequence, rounded up."""
    longest = max(sequences.longest for sequences in sets)
    return min(limit, -(-longest // ROUNDED) * ROUNDED)


def _fit(first, second, room):
    """Tokens of two texts, cut so that both fit into `room`."""
    while first + second > room:
        first, second = (first - 1, second) if first > second else (first, second - 1)
    return first, second
