"""Assembles sequences of tokens from a plan that was made from sentence lengths alone."""

from typing import NamedTuple

import numpy as np


class Plan(NamedTuple):
    """Plan of the sequences of one block, made before tokens are read.

    A sequence is [CLS], then spans: contiguous ranges of the tokens of the block. A [SEP]
    follows each span for which `ends` is true.
    """

    first: np.ndarray  # int64 [sequences + 1], the first span of each sequence
    source: np.ndarray  # int64 [spans], start in the tokens of the block
    size: np.ndarray  # int64 [spans], number of tokens
    ends: np.ndarray  # bool [spans], whether [SEP] follows
    type: np.ndarray  # int8 [spans], token type, 0 or 1
    is_random: np.ndarray | None  # int32 [sequences], for pairs only

    def __len__(self):
        return len(self.first) - 1


def assemble(plan, sequences, text, *, length, vocab):
    """Assembles the tokens of some sequences of a block.

    Args:
      plan: `Plan` of the block.
      sequences: int [sequences], indices of the sequences.
      text: int [tokens], concatenated documents of the block.
      length: int, tokens per sequence.
      vocab: `Vocab`; uses `pad_id`, `cls_id` and `sep_id`.

    Returns:
      tokens: int32 [sequences, length]; types: int32 [sequences, length].
    """
    tokens = np.full((len(sequences), length), vocab.pad_id, np.int32)
    types = np.zeros((len(sequences), length), np.int32)
    tokens[:, 0] = vocab.cls_id
    num_spans = plan.first[sequences + 1] - plan.first[sequences]  # spans of each sequence
    span = ranges(plan.first[sequences], num_spans)
    sequence = np.repeat(np.arange(len(sequences)), num_spans)
    size, ends = plan.size[span], plan.ends[span]
    used = np.cumsum(size + ends) - (size + ends)  # tokens before each span
    begin = np.concatenate([used, [0]])[np.cumsum(num_spans) - num_spans]
    start = (
        sequence * length + 1 + used - np.repeat(begin, num_spans)
    )  # flat index of each span
    target = ranges(start, size)
    tokens.reshape(-1)[target] = text[ranges(plan.source[span], size)]
    last = (start + size)[ends]
    tokens.reshape(-1)[last] = vocab.sep_id
    if plan.is_random is not None:
        types.reshape(-1)[target] = np.repeat(plan.type[span], size)
        types.reshape(-1)[last] = plan.type[span][ends]
    return tokens, types


def ranges(starts, sizes):
    """Concatenates `arange(start, start + size)` of all pairs."""
    ends = np.cumsum(sizes)
    return np.repeat(starts - ends + sizes, sizes) + np.arange(ends[-1] if len(ends) else 0)
