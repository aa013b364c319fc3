"""How much arithmetic a model takes, by formula, and what a plan of stages saves.

Only matrix products count, two operations for a multiplication and its addition, of
the forward pass; the backward pass takes twice as many. The formula is that of the
comparison in Gu et al. (2021): no embeddings, no norms, no softmax, and the gathered
head only at its predictions. `config` is anything with the fields of a BERT.
"""

import dataclasses
import math


def forward(config, length, predictions):
    """{part: forward FLOPs of one row} of `length` tokens with `predictions` slots.

    A layer of n query rows and m key rows takes
    2nD^2 + 4mD^2 + 2nD^2 + 4nmD + 4nDF; only the first pooled layer has n != m. Factors of
    rank r take 4nr(D + F) for the last term, and a light layer has neither queries nor keys
    nor scores: 2nD^2 + 2nD^2 + 2nnD.
    """
    rows, width = query_rows(config, length, predictions), config.width
    first = _layer(config, rows, length if config.pool > 1 else rows)
    others = (config.num_layers - 1) * _layer(config, rows, rows)
    parts = {
        "layers": first + others - _saved_by_light(config, rows),
        "head": predictions * (2 * width**2 + 2 * width * config.vocab_size),
        "pooler": 2 * width**2,
    }
    if config.pool > 1 and config.pool_mode == "concat":
        parts["resolution"] = 2 * (length - predictions) * width**2
    return parts


def query_rows(config, length, predictions):
    """Rows that the layers work on: pooled kept tokens and targets, or all tokens."""
    if config.pool == 1:
        return length
    kept = length - predictions
    if config.pool_mode == "concat":
        return kept // config.pool + predictions
    return 1 + math.ceil((kept - 1) / config.pool) + predictions


def train_step_flops(config, length, predictions, batch, forward=forward):
    """FLOPs of one training step over `batch` rows: forward, and twice that backward.

    Frozen layers and what feeds them have no backward pass; the head has one, but for the
    gradient of its word table. `forward` is the formula of the model's family.
    """
    parts = forward(config, length, predictions)
    total, frozen = sum(parts.values()), getattr(config, "frozen_layers", 0)
    learnt = total
    if frozen:
        below = dataclasses.replace(config, num_layers=frozen, frozen_layers=0)
        learnt -= forward(below, length, predictions)["layers"] + parts.get("resolution", 0)
        learnt -= predictions * config.width * config.vocab_size
    return batch * (total + 2 * learnt)


def speedup(stages, full):
    """T_full / T - 1 of the speed-up definition in Gu et al. (2021), e.g. 1.02 for +102 %.

    Args:
      stages: pairs (steps, cost of one step).
      full: the pair of the run to compare with.
    """
    return full[0] * full[1] / sum(steps * cost for steps, cost in stages) - 1


def _layer(config, rows, keys):
    width = config.width
    products = 4 * rows * width**2 + 4 * keys * width**2
    ffn = width * config.mlp_width
    if config.ffn_rank:
        ffn = config.ffn_rank * (width + config.mlp_width)
    return products + 4 * rows * keys * width + 4 * rows * ffn


def _saved_by_light(config, rows):
    """What light layers need not do; one right behind a pooled layer does not read, either."""
    if not config.light_every:
        return 0
    count = config.num_layers // config.light_every
    reads = count + 1 if config.pool > 1 and config.light_every == 2 else count
    return count * 4 * rows * config.width**2 + reads * 2 * rows**2 * config.width
