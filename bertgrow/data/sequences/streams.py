"""Endless stream of training sequences that can be resumed at any position.

Sequence n of a run is a pure function of stores, weights, seed and length. In every epoch the
documents of a store are permuted and cut into blocks of about `block_tokens` tokens. The
sequences of a block are planned from sentence lengths and then shuffled. A position in the
stream is `{"row": n, "cursors": [[epoch, block, row]]}`, with one cursor for each store; a
row is a sequence. Blocks do not depend on the sequence length: after a change of length or
kind, the stream continues at the next unread block (`next_block`).
"""

import zlib
from typing import NamedTuple

import numpy as np

from bertgrow.core.errors import InputError
from bertgrow.data.sequences import assembly, document_blocks, mixing

KINDS = ("packed", "pairs")
BLOCK_TOKENS = 2**18


class Address(NamedTuple):
    """Location of one sequence: store, epoch, block and index in the block."""

    store: int
    epoch: int
    block: int
    index: int


class Stream:
    """Endless sequences from a mixture of stores.

    Args:
      stores: open stores that share one vocabulary.
      length: int, tokens per sequence.
      seed: int, seed of all random choices.
      weights: relative number of sequences from each store; equal by default.
      kind: "packed" or "pairs".
      block_tokens: approximate number of tokens per block; it changes the order.
      epochs: number of distinct epochs. After them the first epoch repeats with the same
        order, sequences and `ids`. 0 means that no epoch repeats.
    """

    def __init__(
        self, stores, *, length, seed, weights=None, kind="packed",
        block_tokens=BLOCK_TOKENS, epochs=0,
    ):  # fmt: skip
        self.stores, self.length, self.seed, self.kind = tuple(stores), length, seed, kind
        self.weights, self.block_tokens, self.epochs = weights, block_tokens, epochs
        fractions = np.ones(len(self.stores)) if weights is None else np.asarray(weights, float)
        _check(self.stores, fractions, length, kind)
        self.edges = np.cumsum(fractions / fractions.sum())[:-1]
        self.vocab = self.stores[0].vocab
        self.corpora = [
            document_blocks.Corpus(
                store.train, seed=(seed, number), block_tokens=block_tokens, epochs=epochs
            )
            for number, store in enumerate(self.stores)
        ]

    def __reduce__(self):
        return _rebuild, (self.stores, self.length, self.seed, self.weights, self.kind,
                        self.block_tokens, self.epochs)  # fmt: skip

    def start(self):
        """Returns the position of the first sequence."""
        return {"row": 0, "cursors": [[0, 0, 0] for _ in self.stores]}

    def next_block(self, position):
        """Returns the start position for a new length or kind: skips partly read blocks."""
        cursors = [
            [*self.corpora[store].next(epoch, block), 0] if row else [epoch, block, 0]
            for store, (epoch, block, row) in enumerate(position["cursors"])
        ]
        return {"row": position["row"], "cursors": cursors}

    def take(self, position, count):
        """Returns the addresses of the next `count` sequences, and the position after them."""
        numbers = np.arange(position["row"], position["row"] + count)
        chosen = np.searchsorted(self.edges, mixing.uniform(numbers, self.seed), side="right")
        cursors = [list(cursor) for cursor in position["cursors"]]
        addresses = []
        for store in chosen.tolist():
            epoch, block, row = cursors[store]
            addresses.append(Address(store, epoch, block, row))
            if row + 1 < self._num_sequences(store, epoch, block):
                cursors[store][2] += 1
            else:
                cursors[store] = [*self.corpora[store].next(epoch, block), 0]
        return addresses, {"row": position["row"] + count, "cursors": cursors}

    def read(self, addresses):
        """Reads the sequences at `addresses`: {name: array [len(addresses), ...]}."""
        batch = padding_batch(len(addresses), self.length, self.kind, self.vocab)
        groups = {}
        for place, address in enumerate(addresses):
            groups.setdefault(address[:3], []).append((place, address.index))
        for (store, epoch, block), members in groups.items():
            place, index = np.array(members).T
            group = block_sequences(
                self.corpora[store], epoch, block, index, self.length, self.kind, self.vocab
            )
            group["ids"][:, 0] = zlib.crc32(f"{store}/{epoch}/{block}".encode())
            for name, array in group.items():
                batch[name][place] = array
        return batch

    def epoch_sequences(self, epochs=1):
        """Counts the sequences in the first epochs of all stores exactly; plans every block."""
        return sum(
            self._num_sequences(store, epoch, block)
            for store, corpus in enumerate(self.corpora)
            for epoch in range(epochs)
            for block in range(len(corpus.blocks(epoch)))
        )

    def _num_sequences(self, store, epoch, block):
        return len(self.corpora[store].plan(epoch, block, self.length, self.kind)[1])


def block_sequences(blocks, epoch, block, index, length, kind, vocab):
    """Reads sequences of one block of a Corpus; sets only column 1 of `ids`, the index."""
    plan, order = blocks.plan(epoch, block, length, kind)
    planned = order[index]
    text = blocks.text(epoch, block)
    tokens, types = assembly.assemble(plan, planned, text, length=length, vocab=vocab)
    ids = np.stack([np.zeros(len(index)), index], axis=1).astype(np.uint32)
    batch = {"tokens": tokens, "types": types, "ids": ids}
    if kind == "pairs":
        batch["is_random"] = plan.is_random[planned]
    return batch


def padding_batch(sequences, length, kind, vocab):
    """Returns a batch that contains only padding."""
    batch = {
        "tokens": np.full((sequences, length), vocab.pad_id, np.int32),
        "types": np.zeros((sequences, length), np.int32),
        "ids": np.zeros((sequences, 2), np.uint32),
    }
    if kind == "pairs":
        batch["is_random"] = np.zeros(sequences, np.int32)
    return batch


def _rebuild(stores, length, seed, weights, kind, block_tokens, epochs):
    return Stream(
        stores, length=length, seed=seed, weights=weights, kind=kind,
        block_tokens=block_tokens, epochs=epochs,
    )  # fmt: skip


def _check(stores, weights, length, kind):
    if kind not in KINDS:
        raise InputError(f"data.kind {kind!r}: expected one of {', '.join(KINDS)}")
    if length < 8:
        raise InputError(f"length {length}: a sequence needs at least 8 tokens")
    if len(weights) != len(stores) or not (weights > 0).all():
        raise InputError(
            f"{len(stores)} stores and weights {weights}: give one weight above 0 "
            "for each store"
        )
    hashes = {store.meta["vocab"]["hash"]: store for store in stores}
    if len(hashes) > 1:
        first, second = list(hashes)[:2]
        raise InputError(
            f"{hashes[first].folder} has vocabulary {first[:12]} and {hashes[second].folder} "
            f"{second[:12]}; prepare them with the same --vocab"
        )
    for store in stores:
        if kind == "pairs" and len(store.train) < 2:
            raise InputError(f"{store.folder} has one document; pairs need at least two")
