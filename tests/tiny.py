"""Small BERT and batch for checks by hand."""

import dataclasses

import jax
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


def params(network, seed=0, dtype=np.float32, deviation=0.1):
    """Parameters with no leaf at its initial value, biases and norms included; not compiled."""
    random = np.random.default_rng(seed)

    def at_leaf(path, leaf):
        mean = 1.0 if path[-1].key == "scale" else 0.0
        return (mean + deviation * random.standard_normal(leaf.shape)).astype(dtype)

    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree_util.tree_map_with_path(at_leaf, shapes)


def keys(seed, batch=3):
    """Random keys of the sequences of a batch."""
    return jax.random.split(jax.random.key(seed), batch)


def inputs(*, batch=3, length=16, max_predictions=4, vocab=100, seed=0):
    """A fixed masked batch; sequence i has 2 i padding tokens and i padding predictions."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(5, vocab, (batch, length)).astype(np.int32)
    tokens[:, 0] = 2
    types = np.tile(np.arange(length) >= length // 2, (batch, 1)).astype(np.int32)
    positions = np.zeros((batch, max_predictions), np.int32)
    weights = np.zeros((batch, max_predictions), np.float32)
    for index in range(batch):
        end = max(length - 2 * index, max_predictions + 1)
        tokens[index, end:] = types[index, end:] = 0
        used = max(max_predictions - index, 1)
        positions[index, :used] = np.sort(rng.choice(np.arange(1, end), used, replace=False))
        weights[index, :used] = 1
    targets = np.take_along_axis(tokens, positions, axis=1) * (weights > 0).astype(np.int32)
    shown = np.where(weights > 0, 4, np.take_along_axis(tokens, positions, axis=1))
    np.put_along_axis(tokens, positions, shown, axis=1)
    return {
        "tokens": tokens,
        "types": types,
        "positions": positions,
        "targets": targets,
        "weights": weights,
    }
