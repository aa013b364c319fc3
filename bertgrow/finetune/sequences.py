"""Token sequences of examples, and batches of them."""

import hashlib
from typing import NamedTuple

import numpy as np

from bertgrow.finetune import buckets


class Sequences(NamedTuple):
    """Sequences of all examples of a set, one behind the other."""

    tokens: np.ndarray  # int32 [all tokens]
    starts: np.ndarray  # int64 [sequences + 1]
    firsts: np.ndarray  # int32 [sequences], tokens of the first segment
    labels: np.ndarray  # [sequences, ...]; zeros where there are none

    def __len__(self):
        return len(self.firsts)

    @property
    def sizes(self):
        """Tokens of each sequence."""
        return np.diff(self.starts)

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


def batches(sequences, *, batch, lengths, pad_id):
    """Returns all sequences, the shortest first, in batches; the last one is filled up.

    Args:
      sequences: `Sequences`.
      batch: sequences of a batch.
      lengths: ascending lengths that batches may have, see `buckets.lengths`.
      pad_id: token behind the end of a sequence.
    """
    sizes = sequences.sizes
    order = np.argsort(sizes, kind="stable")
    parts = [order[start : start + batch] for start in range(0, len(order), batch)]
    return [
        sequences.batch(
            numbers, buckets.fitting(lengths, sizes[numbers].max()), pad_id, size=batch
        )
        for numbers in parts
    ]


def _fit(first, second, room):
    """Tokens of two texts, cut so that both fit into `room`."""
    while first + second > room:
        first, second = (first - 1, second) if first > second else (first, second - 1)
    return first, second
