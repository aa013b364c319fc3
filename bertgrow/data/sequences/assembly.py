"""Rows planned from lengths alone: which tokens of a block of documents stand where."""

from typing import NamedTuple

import numpy as np


class Plan(NamedTuple):
    """Rows of one block of documents, before any token is read.

    A row is [CLS], then pieces of the block's text, each followed by [SEP] where `ends`.
    """

    first: np.ndarray  # int64 [rows + 1], the first piece of each row
    source: np.ndarray  # int64 [pieces], where it begins in the block's tokens
    size: np.ndarray  # int64 [pieces]
    ends: np.ndarray  # bool [pieces], [SEP] comes after it
    type: np.ndarray  # int8 [pieces], 0 or 1
    is_random: np.ndarray | None  # int32 [rows], only of pairs

    def __len__(self):
        return len(self.first) - 1

    def fill(self):
        """int64 [rows], tokens of each row that are not padding."""
        used = np.concatenate([[0], np.cumsum(self.size + self.ends)])
        return 1 + np.diff(used[self.first])


def assemble(plan, rows, text, *, length, vocab):
    """The tokens of some rows of a block.

    Args:
      plan: the block's Plan.
      rows: int [rows], which of them.
      text: int [tokens], the block's documents one after another.
      length: int, tokens a row.
      vocab: gives `pad_id`, `cls_id` and `sep_id`.

    Returns:
      tokens: int32 [rows, length]; types: int32 [rows, length].
    """
    tokens = np.full((len(rows), length), vocab.pad_id, np.int32)
    types = np.zeros((len(rows), length), np.int32)
    tokens[:, 0] = vocab.cls_id
    number = plan.first[rows + 1] - plan.first[rows]  # pieces of each row
    piece = ranges(plan.first[rows], number)
    row = np.repeat(np.arange(len(rows)), number)
    size, ends = plan.size[piece], plan.ends[piece]
    used = np.cumsum(size + ends) - (size + ends)  # before each piece, over all rows
    begin = np.concatenate([used, [0]])[np.cumsum(number) - number]
    at = row * length + 1 + used - np.repeat(begin, number)  # flat place of each piece
    target = ranges(at, size)
    tokens.reshape(-1)[target] = text[ranges(plan.source[piece], size)]
    last = (at + size)[ends]
    tokens.reshape(-1)[last] = vocab.sep_id
    if plan.is_random is not None:
        types.reshape(-1)[target] = np.repeat(plan.type[piece], size)
        types.reshape(-1)[last] = plan.type[piece][ends]
    return tokens, types


def ranges(starts, sizes):
    """`arange(start, start + size)` of every pair, one after another."""
    ends = np.cumsum(sizes)
    return np.repeat(starts - ends + sizes, sizes) + np.arange(ends[-1] if len(ends) else 0)
