"""FLOPs of MobileBERT, counted as in `bertgrow.core.flops`."""

from mobilebert.models.config import TRIGRAM


def forward(config, length, predictions):
    """{part: forward FLOPs of one sequence} with `length` tokens and `predictions`.

    Counts matrix products only, the trigram projection included; a multiplication with its
    addition counts as two.
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
    """FLOPs of a block's dense layers for one token."""
    wide, narrow, choice = config.width, config.body_width, config.attention_input
    bottlenecks = wide * narrow * (2 if choice == "shared" else 1)
    queries = 2 * narrow * (wide if choice == "input" else narrow)  # and keys
    values = narrow * (narrow if choice == "bottleneck" else wide)
    ffns = config.num_ffns * 2 * narrow * config.mlp_width
    return 2 * (bottlenecks + queries + values + narrow**2 + ffns + narrow * wide)


def _attention(config, length):
    """FLOPs of attention for one query: scores and weighted values."""
    return 4 * length * config.body_width
