"""Small BERT and batch for checks by hand."""

import dataclasses

import numpy as np

from bertgrow.models.bert import BertConfig

CONFIG = BertConfig(
    vocab_size=100,
    num_layers=2,
    width=32,
    num_heads=4,
    ffn_width=64,
    max_length=32,
    next_sentence=True,
    dtype="float32",
)


def config(**overrides):
    """The tiny configuration with some fields changed."""
    return dataclasses.replace(CONFIG, **overrides)


def inputs(*, batch=3, length=16, slots=4, vocab=100, seed=0):
    """A fixed masked batch; row i ends in 2 i tokens of padding and leaves i slots unused."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(5, vocab, (batch, length)).astype(np.int32)
    tokens[:, 0] = 2
    types = np.tile(np.arange(length) >= length // 2, (batch, 1)).astype(np.int32)
    positions = np.zeros((batch, slots), np.int32)
    weights = np.zeros((batch, slots), np.float32)
    for row in range(batch):
        end = max(length - 2 * row, slots + 1)
        tokens[row, end:] = types[row, end:] = 0
        used = max(slots - row, 1)
        positions[row, :used] = np.sort(rng.choice(np.arange(1, end), used, replace=False))
        weights[row, :used] = 1
    targets = np.take_along_axis(tokens, positions, axis=1) * (weights > 0).astype(np.int32)
    hidden = np.where(weights > 0, 4, np.take_along_axis(tokens, positions, axis=1))
    np.put_along_axis(tokens, positions, hidden, axis=1)
    return {
        "tokens": tokens,
        "types": types,
        "positions": positions,
        "targets": targets,
        "weights": weights,
    }
