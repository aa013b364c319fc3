"""Assembles sequences of tokens from a plan that was made from sentence lengths alone."""

from typing import NamedTuple

import numpy as np


class Plan(NamedTuple):
    """Plan of the sequences of one block, made before tokens are read.

    A sequence is [CLS], then pieces: contiguous ranges of the tokens of the block. A [SEP]
    follows each piece for which `ends` is true.
    """

    first: np.ndarray  # int64 [rows + 1], the first piece of each sequence
    source: np.ndarray  # int64 [pieces], start in the tokens of the block
    size: np.ndarray  # int64 [pieces], number of tokens
    ends: np.ndarray  # bool [pieces], whether [SEP] follows
    type: np.ndarray  # int8 [pieces], token type, 0 or 1
    is_random: np.ndarray | None  # int32 [rows], for pairs only

    def __len__(self):
        return len(self.first) - 1

    def fill(self):
        """Counts the tokens of each sequence without padding: int64 [rows]."""
        used = np.concatenate([[0], np.cumsum(self.size + self.ends)])
        return 1 + np.diff(used[self.first])


def assemble(plan, rows, text, *, length, vocab):
    """Assembles the tokens of some sequences of a block.

    Args:
      plan: `Plan` of the block.
      rows: int [rows], indices of the sequences.
      text: int [tokens], concatenated documents of the block.
      length: int, tokens per sequence.
      vocab: `Vocab`; uses `pad_id`, `cls_id` and `sep_id`.

    Returns:
      tokens: int32 [rows, length]; types: int32 [rows, length].
    """
    tokens = np.full((len(rows), length), vocab.pad_id, np.int32)
    types = np.zeros((len(rows), length), np.int32)
    tokens[:, 0] = vocab.cls_id
    number = plan.first[rows + 1] - plan.first[rows]  # pieces of each sequence
    piece = ranges(plan.first[rows], number)
    row = np.repeat(np.arange(len(rows)), number)
    size, ends = plan.size[piece], plan.ends[piece]
    used = np.cumsum(size + ends) - (size + ends)  # tokens before each piece
    begin = np.concatenate([used, [0]])[np.cumsum(number) - number]
    at = row * length + 1 + used - np.repeat(begin, number)  # flat index of each piece
    target = ranges(at, size)
    tokens.reshape(-1)[target] = text[ranges(plan.source[piece], size)]
    last = (at + size)[ends]
    tokens.reshape(-1)[last] = vocab.sep_id
    if plan.is_random is not None:
        types.reshape(-1)[target] = np.repeat(plan.type[piece], size)
        types.reshape(-1)[last] = plan.type[piece][ends]
    return tokens, types


def ranges(starts, sizes):
    """Concatenates `arange(start, start + size)` of all pairs."""
    ends = np.cumsum(sizes)
    return np.repeat(starts - ends + sizes, sizes) + np.arange(ends[-1] if len(ends) else 0)
