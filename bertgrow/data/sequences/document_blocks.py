"""Divides one split of a store into blocks of shuffled sequences."""

import functools

import numpy as np

from bertgrow.data.sequences import assembly, mixing, packing, pairs

DOCUMENTS, SEQUENCES, PAIRS = range(3)  # purposes of random numbers


class Corpus:
    """The blocks of every epoch of a split.

    Args:
      split: the `Split` of a store.
      seed: tuple of ints, seed of all random choices; None keeps the stored order.
      block_tokens: approximate number of tokens per block.
      epochs: number of distinct epochs before the first repeats; 0: no epoch repeats.
    """

    def __init__(self, split, *, seed, block_tokens, epochs=0):
        self.split, self.seed, self.block_tokens = split, seed, block_tokens
        self.epochs = epochs
        self.blocks = functools.lru_cache(2)(self._blocks)
        self.plan = functools.lru_cache(4)(self._plan)
        self.text = functools.lru_cache(4)(self._text)

    def next(self, epoch, block):
        """Returns the (epoch, block) after the given one."""
        if block + 1 < len(self.blocks(epoch)):
            return epoch, block + 1
        return (epoch + 1) % self.epochs if self.epochs else epoch + 1, 0

    def _blocks(self, epoch):
        """Returns the documents of every block: a list of int64 arrays.

        A block has at least two documents if the split has, because pairs need two.
        """
        order = self._order(len(self.split), DOCUMENTS, epoch)
        sizes = self.split.sizes[order]
        ends = np.cumsum(sizes)
        number = max(1, round(int(ends[-1]) / self.block_tokens))
        block = (ends - sizes) * number // ends[-1]
        cuts = [0]
        for cut in (np.flatnonzero(np.diff(block)) + 1).tolist():
            if cut - cuts[-1] > 1 and len(order) - cut > 1:
                cuts.append(cut)
        return np.split(order, cuts[1:])

    def _plan(self, epoch, block, length, kind):
        """Returns the `Plan` of a block and the shuffled order of its sequences."""
        documents = self.blocks(epoch)[block]
        firsts = self.split.documents
        counts = firsts[documents + 1] - firsts[documents]
        lengths = self.split.sentences[assembly.ranges(firsts[documents], counts)]
        if kind == "packed":
            plan = packing.pack(lengths, counts, length=length)
        else:
            seed = int(mixing.mix(*(self.seed or (0,)), PAIRS, epoch, block)[0])
            plan = pairs.pair(lengths, counts, length=length, seed=seed)
        return plan, self._order(len(plan), SEQUENCES, epoch, block)

    def _text(self, epoch, block):
        """Returns the concatenated tokens of the documents of a block."""
        return np.concatenate(self.split.read(self.blocks(epoch)[block]))

    def _order(self, number, *purpose):
        if self.seed is None:
            return np.arange(number)
        return mixing.order(number, *self.seed, *purpose)
