"""FLOPs of a model by formula, and the speed-up of a plan of stages.

Counts the matrix products of the forward pass, with two operations for a multiplication
and its addition. The backward pass takes twice as many. The formula follows the comparison
in Gu et al. (2021): it leaves out embeddings, norms and softmax, and counts the gathered
head only at its predictions. `config` is any object with the fields of `BertConfig`.
"""

import dataclasses
import math


def forward(config, length, predictions):
    """Returns {part: forward FLOPs of one sequence}.

    A layer with n queries and m keys takes 2nD^2 + 4mD^2 + 2nD^2 + 4nmD + 4nDF. Only the
    first layer after pooling has n != m. Factors of rank r take 4nr(D + F) for the last
    term. A light layer computes no queries, keys or attention logits; its attention takes
    2nD^2 + 2nD^2 + 2nnD.

    Args:
      config: fields as in `BertConfig`.
      length: tokens of the sequence.
      predictions: masked positions of the sequence, padding predictions included.
    """
    queries, width = num_queries(config, length, predictions), config.width
    first = _layer(config, queries, length if config.pool > 1 else queries)
    others = (config.num_layers - 1) * _layer(config, queries, queries)
    parts = {
        "layers": first + others - _saved_by_light(config, queries),
        "head": predictions * (2 * width**2 + 2 * width * config.vocab_size),
        "pooler": 2 * width**2,
    }
    if config.pool > 1 and config.pool_mode == "concat":
        parts["resolution"] = 2 * (length - predictions) * width**2
    return parts


def num_queries(config, length, predictions):
    """Number of query positions of a layer: pooled tokens and targets, or all tokens."""
    if config.pool == 1:
        return length
    context = length - predictions
    if config.pool_mode == "concat":
        return context // config.pool + predictions
    return 1 + math.ceil((context - 1) / config.pool) + predictions


def train_step_flops(config, length, predictions, batch, forward=forward):
    """FLOPs of one training step over `batch` sequences: forward, and twice that backward.

    Frozen layers and the modules below them have no backward pass. With frozen layers, the
    head has a backward pass except for the gradient of its word table. `forward` is the
    formula of the model's family.
    """
    parts = forward(config, length, predictions)
    total, frozen = sum(parts.values()), getattr(config, "frozen_layers", 0)
    trained = total
    if frozen:
        below = dataclasses.replace(config, num_layers=frozen, frozen_layers=0)
        trained -= forward(below, length, predictions)["layers"] + parts.get("resolution", 0)
        trained -= predictions * config.width * config.vocab_size
    return batch * (total + 2 * trained)


def speedup(stages, full):
    """Speed-up T_full / T - 1 as in Gu et al. (2021), e.g. 1.02 for +102 %.

    Args:
      stages: pairs (steps, cost of one step).
      full: such a pair for the baseline run.
    """
    return full[0] * full[1] / sum(steps * cost for steps, cost in stages) - 1


def _layer(config, queries, keys):
    width = config.width
    products = 4 * queries * width**2 + 4 * keys * width**2
    ffn = width * config.mlp_width
    if config.ffn_rank:
        ffn = config.ffn_rank * (width + config.mlp_width)
    return products + 4 * queries * keys * width + 4 * queries * ffn


def _saved_by_light(config, queries):
    """FLOPs that light layers save.

    A light layer directly after the pooled layer also saves the weighted sum of values.
    """
    if not config.light_every:
        return 0
    count = config.num_layers // config.light_every
    projections = count * 4 * queries * config.width**2
    num_products = count + 1 if config.pool > 1 and config.light_every == 2 else count
    return projections + num_products * 2 * queries**2 * config.width
