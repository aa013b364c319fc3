"""Batches of texts, bucketed by length, so that each bucket compiles once."""

from typing import NamedTuple

import numpy as np

SHORTEST = 16  # tokens of the first bucket; each next one has twice as many


class Batch(NamedTuple):
    """Sequences of one bucket. The last rows may be empty, which `numbers` leaves out."""

    numbers: np.ndarray  # int [sequences], their places in the input
    inputs: dict  # of the network, arrays [rows, ...]


def make(rows, config, *, size, positions=None):
    """Yields `Batch`es of a list of token sequences, shortest first.

    The length of a sequence decides its bucket, whatever the other sequences are, so that its
    outputs do not depend on them.

    Args:
      rows: list of int32 arrays with [CLS] and [SEP].
      config: configuration of the model; uses `max_length`, `pad_id` and the pooling.
      size: rows of a batch at most. A bucket with fewer gets the next power of two.
      positions: list of int arrays, the positions to predict of each sequence; None: none.
    """
    buckets = {}
    for number, row in enumerate(rows):
        predictions = len(positions[number]) if positions else 0
        buckets.setdefault(_shape(len(row), predictions, config), []).append(number)
    for (length, max_predictions), numbers in sorted(buckets.items()):
        batch = size if len(numbers) > size else 1 << (len(numbers) - 1).bit_length()
        for start in range(0, len(numbers), batch):
            chosen = numbers[start : start + batch]
            inputs = _padded([rows[number] for number in chosen], batch, length, config)
            if positions:
                inputs |= _predictions(
                    [positions[number] for number in chosen], batch, max_predictions
                )
            yield Batch(np.array(chosen), inputs)


def _shape(tokens, predictions, config):
    """(length, predictions) of the bucket of a sequence.

    With pooling by `concat`, what is pooled has to divide into windows.
    """
    pool = getattr(config, "pool", 1)
    max_predictions = 1 << (predictions - 1).bit_length() if predictions else 0
    need = max(tokens, 2 * max_predictions) if pool > 1 else tokens
    length = SHORTEST
    while length < need:
        length *= 2
    length = min(length, config.max_length)
    if pool > 1 and config.pool_mode == "concat":
        if max_predictions:
            max_predictions += (length - max_predictions) % pool
        else:
            length = -(-length // pool) * pool
    return length, max_predictions


def _padded(rows, batch, length, config):
    tokens = np.full((batch, length), config.pad_id, np.int32)
    mask = np.zeros((batch, length), bool)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = row
        mask[place, : len(row)] = True
    return dict(tokens=tokens, types=np.zeros_like(tokens), mask=mask)


def _predictions(positions, batch, max_predictions):
    padded = np.zeros((batch, max_predictions), np.int32)
    weights = np.zeros((batch, max_predictions), np.float32)
    for place, row in enumerate(positions):
        padded[place, : len(row)] = row
        weights[place, : len(row)] = 1
    return dict(positions=padded, weights=weights)
