"""How much arithmetic a MobileBERT takes, counted as in `bertgrow.core.flops`."""

from mobilebert.models.config import TRIGRAM


def forward(config, length, predictions):
    """{part: forward FLOPs of one row} of `length` tokens with `predictions` slots.

    Matrix products alone, two operations for a multiplication and its addition; the
    projection of trigrams is one of them.
    """
    width = config.width
    parts = {
        "embeddings": length * 2 * TRIGRAM * config.table_width * width,
        "layers": config.num_layers * length * (_products(config) + _attention(config, length)),
        "head": predictions * (2 * width**2 + 2 * width * config.vocab_size),
    }
    if config.pooler:
        parts["pooler"] = 2 * width**2
    return parts


def _products(config):
    """FLOPs that a block's weights take for one token."""
    wide, body, choice = config.width, config.body_width, config.attention_input
    bottlenecks = wide * body * (2 if choice == "shared" else 1)
    queries = 2 * body * (wide if choice == "input" else body)  # and keys
    values = body * (body if choice == "bottleneck" else wide)
    ffns = config.num_ffns * 2 * body * config.mlp_width
    return 2 * (bottlenecks + queries + values + body**2 + ffns + body * wide)


def _attention(config, length):
    """FLOPs of one row of attention: scores and the reading of values."""
    return 4 * length * config.body_width
