"""Endless training batches of sequences of similar length, in a new order every epoch."""

import functools
from typing import NamedTuple

import numpy as np

from bertgrow.finetune import buckets

MAX_GROUP, GROUPS = 50, 4  # batches of a group at most; groups of an epoch at least


class Plan(NamedTuple):
    """The batches of a run by their lengths, the shortest first."""

    batches: dict  # {length: number of batches}
    firsts: dict  # {length: the first batch of this length}
    padding: float  # share of padding in all tokens
    padding_of_one: float  # the same if every batch had the longest length

    def describe(self):
        """A sentence on padding."""
        lengths = ", ".join(map(str, self.batches))
        return (
            f"Training batches of {lengths} tokens, by the length of their sequences: "
            f"{self.padding:.1%} of the tokens are padding ({self.padding_of_one:.1%} with one "
            "length for all)."
        )


class Shuffled:
    """A stream for `data.sequences.pipeline`: each sequence once an epoch.

    The batches of an epoch form groups of consecutive batches. Inside a group the sequences are
    sorted by length before they are cut into batches, and the batches are shuffled again. The
    sequences of a batch are a pure function of the seed and its number, so a position is the
    number of sequences before it.

    Args:
      sequences: `Sequences`.
      batch: sequences of a batch.
      lengths: ascending lengths that batches may have, see `buckets.lengths`.
      pad_id: token behind the end of a sequence.
      seed: of the order.
    """

    stores = ()  # a stream of token stores has some

    def __init__(self, sequences, *, batch, lengths, pad_id, seed):
        self.sequences, self.batch, self.lengths = sequences, batch, lengths
        self.length, self.pad_id, self.seed = lengths[-1], pad_id, seed
        self._known = 0, np.zeros((0, batch), np.int64)  # of the last group, see `_group`

    def start(self):
        return {"row": 0, "cursors": []}

    def epoch_sequences(self):
        return len(self.sequences)

    def take(self, position, count):
        """Addresses of the next batch, int [batch, 2], and the position after it.

        An address is the place of a sequence and the length of its batch. So every process
        fills its part of a batch up to the same length.
        """
        if count != self.batch:
            raise ValueError(f"{count} sequences; expected a batch of {self.batch}")
        numbers = self._numbers(position["row"] // count)
        length = self._length(numbers)
        addresses = np.stack([numbers, np.full(count, length)], axis=1)
        return addresses, {"row": position["row"] + count, "cursors": []}

    def read(self, addresses):
        numbers, lengths = np.transpose(addresses)
        return self.sequences.batch(numbers, int(lengths[0]), self.pad_id)

    def plan(self, steps):
        """`Plan` of a run of so many steps from the start."""
        count, tokens, firsts, position = {}, 0, {}, self.start()
        for _ in range(steps):
            addresses, position = self.take(position, self.batch)
            length = int(addresses[0, 1])
            count[length] = count.get(length, 0) + 1
            firsts.setdefault(length, addresses)
            tokens += int(self.sequences.sizes[addresses[:, 0]].sum())
        places = self.batch * sum(length * batches for length, batches in count.items())
        return Plan(
            batches={length: count[length] for length in sorted(count)},
            firsts={length: self.read(firsts[length]) for length in sorted(firsts)},
            padding=1 - tokens / places,
            padding_of_one=1 - tokens / (self.batch * steps * self.length),
        )

    def _length(self, numbers):
        return buckets.fitting(self.lengths, self.sequences.sizes[numbers].max())

    def _numbers(self, number):
        """Places of the sequences of a batch."""
        first, group = self._known
        if not first <= number < first + len(group):
            first, group = self._known = self._group(number)
        return group[number - first]

    def _group(self, number):
        """The group of a batch: number of its first batch, and places [batches, batch].

        A batch that has sequences of two epochs is a group of its own.
        """
        size, batch = len(self.sequences), self.batch
        epoch = number * batch // size
        first, end = -(-epoch * size // batch), (epoch + 1) * size // batch
        if number >= end:
            return number, self._of_epochs(number, number + 1)
        length = min(MAX_GROUP, max(1, (end - first) // GROUPS))
        first += (number - first) // length * length
        numbers = self._of_epochs(first, min(first + length, end)).ravel()
        by_length = numbers[np.argsort(self.sequences.sizes[numbers], kind="stable")]
        order = np.random.default_rng((self.seed, epoch, first)).permutation(
            len(numbers) // batch
        )
        return first, by_length.reshape(-1, batch)[order]

    def _of_epochs(self, first, end):
        """Places of the batches from `first` to `end` without sorting, [batches, batch]."""
        size = len(self.sequences)
        rows = np.arange(first * self.batch, end * self.batch)
        chosen = [
            _order(self.seed, epoch, size)[rows[rows // size == epoch] % size]
            for epoch in range(rows[0] // size, rows[-1] // size + 1)
        ]
        return np.concatenate(chosen).reshape(-1, self.batch)


@functools.lru_cache(2)  # a batch may be of two epochs
def _order(seed, epoch, size):
    return np.random.default_rng((seed, epoch)).permutation(size)
