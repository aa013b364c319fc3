"""Small random models of every kind, with a small WordPiece vocabulary."""

import functools

import jax
import numpy as np

from bertgrow.data.corpus import vocabulary
from bertgrow.interop.pretrained import Pretrained
from bertgrow.models import families
from bertgrow.models.bert import BertConfig
from mobilebert.models import presets
from mobilebert.models.config import MobileBertConfig

WORDS = "the a file list of returns is in paris france capital [unused1] ##s . , name"
TOKENS = [*vocabulary.SPECIAL, *WORDS.split(), *"bcdefghij", *(f"##{x}" for x in "abcdefghij")]
SIZES = dict(vocab_size=len(TOKENS), num_layers=2, width=16, num_heads=2, max_length=32)
BERT = dict(SIZES, ffn_width=24, dtype="float32")
MOBILE = dict(SIZES, table_width=6, body_width=8, ffn_width=12, num_ffns=2, dtype="float32")
TEACHER = dict(body_width=24, ffn_width=20)
CONFIGS = {
    "bert": BertConfig(**BERT, next_sentence=True),
    "bert without pairs": BertConfig(**BERT, activation="gelu_tanh"),
    "bert pre-norm": BertConfig(**BERT, norm_order="pre", next_sentence=True),
    "mobilebert": MobileBertConfig(**presets.mobilebert(**MOBILE)),
    "mobilebert tiny": MobileBertConfig(
        **presets.mobilebert_tiny(**{**MOBILE, "num_ffns": 1}, pooler=True)
    ),
    "mobilebert with LayerNorm": MobileBertConfig(
        **presets.mobilebert(**MOBILE, norm="layer", activation="gelu", next_sentence=False)
    ),
    "teacher": MobileBertConfig(
        **presets.ib_bert_large(**{**MOBILE, **TEACHER, "num_ffns": 1})
    ),
}
EXPRESSIBLE = [name for name in CONFIGS if name != "teacher"]  # in Hugging Face


def family_of(config):
    return "bert" if isinstance(config, BertConfig) else "mobilebert"


def tokenizer(**options):
    return vocabulary.wordpiece("\n".join(TOKENS).encode(), **options)


@functools.cache
def pretrained(name, seed=0):
    """One of `CONFIGS` with random weights, biases and norms too, large enough to matter."""
    return of(CONFIGS[name], seed)


def of(config, seed=0):
    draw, family = np.random.default_rng(seed), family_of(config)

    def at_leaf(path, leaf):
        start = 1.0 if path[-1].key == "scale" else 0.0
        return np.float32(start + 0.2 * draw.standard_normal(leaf.shape))

    network = families.find(family).network(config)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    params = jax.tree_util.tree_map_with_path(at_leaf, shapes)
    return Pretrained(family, config, params, tokenizer(), "small models")


def batch(length=12):
    """Three sequences, two of them padded, with a prediction at every position."""
    draw = np.random.default_rng(1)
    tokens = draw.integers(5, len(TOKENS), (3, length)).astype(np.int32)
    tokens[1, length - 4 :] = 0
    tokens[2, 3:] = 0
    return {
        "tokens": tokens,
        "types": np.tile(np.arange(length) >= length // 2, (3, 1)).astype(np.int32),
        "positions": np.tile(np.arange(length, dtype=np.int32), (3, 1)),
        "mask": tokens != 0,
    }


def assert_equal_trees(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(np.testing.assert_array_equal, first, second)
