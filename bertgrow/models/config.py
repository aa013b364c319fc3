"""Configuration of a BERT model."""

import dataclasses

from bertgrow.core import fields
from bertgrow.core.fields import option

ACTIVATIONS = ("gelu", "gelu_tanh", "relu")
POSITIONS = ("normal", "sinusoids")
DTYPES = ("auto", "float32", "bfloat16")
REMAT = ("none", "dots", "full")
ATTENTION = ("auto", "xla", "cudnn", "splash")


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Configuration of BERT (Devlin et al., 2019) or a low-cost form (Gu et al., 2021)."""

    vocab_size: int = option(
        30522, "tokens of the vocabulary; 0: as many as the store's has", minimum=0
    )
    num_layers: int = option(12, "transformer layers", minimum=1)
    width: int = option(768, "width of the hidden states", minimum=1)
    num_heads: int = option(12, "attention heads of a layer; divides width", minimum=1)
    ffn_width: int = option(3072, "FFN width of the full model", minimum=1)
    ffn_share: int = option(
        1,
        "one FFN of width ffn_width / ffn_share stands for so many, CompoundGrow's width axis",
        minimum=1,
    )
    ffn_rank: int = option(
        0, "each FFN matrix is a product of two of this rank; 0: full matrices", minimum=0
    )
    light_every: int = option(
        0,
        "every so many layers, one reuses the attention probabilities of the layer before; "
        "0: none, else at least 2",
        minimum=0,
    )
    pool: int = option(
        1, "unmasked tokens pooled into one query, CompoundGrow's length axis", minimum=1
    )
    pool_mode: str = option(
        "mean", "how the embeddings of a window are pooled", choices=("mean", "max", "concat")
    )
    max_length: int = option(512, "positions in the position table", unit="tokens", minimum=1)
    num_types: int = option(2, "segment types", minimum=1)
    norm_order: str = option(
        "post", "LayerNorm after or before attention and FFN", choices=("post", "pre")
    )
    activation: str = option("gelu", "activation of the FFN", choices=ACTIVATIONS)
    dropout: float = option(0.1, "dropout of embeddings and layer outputs", minimum=0, below=1)
    attention_dropout: float = option(
        0.1, "dropout of attention probabilities", minimum=0, below=1
    )
    positions_init: str = option(
        "normal", "initial values of the position table; it is learned", choices=POSITIONS
    )
    next_sentence: bool = option(
        False, "adds the next-sentence head and loss; needs data.rows = 'pairs'"
    )
    pad_id: int = 0  # of the store's vocabulary
    dtype: str = option(
        "auto",
        "of activations; auto: bfloat16 on a TPU, and on a GPU of compute capability 8.0 or "
        "above, else float32",
        choices=DTYPES,
    )
    remat: str = option(
        "none",
        "what the backward pass computes again: nothing, all but matrix products, all",
        choices=REMAT,
    )
    attention: str = option(
        "auto",
        "what computes attention: XLA or a kernel, see docs/training.md; auto: the fastest "
        "for the device",
        choices=ATTENTION,
    )
    unroll: int = option(
        0,
        "layers that a turn of the loop over layers computes; 0: all on a GPU, one elsewhere",
        unit="layers",
        minimum=0,
    )
    init_scale: float = option(0.02, "standard deviation of initial weights", above=0)
    frozen_layers: int = option(
        0,
        "lowest layers that are not trained, nor are the embeddings below them",
        unit="layers",
        minimum=0,
    )

    @property
    def mlp_width(self):
        return self.ffn_width // self.ffn_share

    @property
    def head_width(self):
        return self.width // self.num_heads

    def sizes(self):
        """Returns {axis: size} of the weights, and `norm_order`. Growth compares both."""
        return {
            "layers": self.num_layers,
            "vocab": self.vocab_size,
            "positions": self.max_length,
            "types": self.num_types,
            "embed": self.width,
            "heads": self.num_heads,
            "kv": self.head_width,
            "mlp": self.mlp_width,
            "rank": self.ffn_rank,
            "light": self.light_every,
            "pool": self.pool,
            "norm_order": self.norm_order,
        }

    def check(self):
        """Raises `InputError` at the first invalid field."""
        fields.check(type(self), fields.values(self))
        check_vocabulary(self)
        fields.divides(self, "num_heads", "width")
        fields.divides(self, "ffn_share", "ffn_width")
        if self.light_every:
            light = self.light_every
            fields.expect(light > 1, "light_every", light, "0 or a whole number of at least 2")
            fields.divides(self, "light_every", "num_layers")
            fields.divides(self, "light_every", "frozen_layers")
        fields.expect(self.pool < self.max_length, "pool", self.pool, "less than max_length")
        frozen = self.frozen_layers
        fields.expect(frozen < self.num_layers, "frozen_layers", frozen, "less than num_layers")


def check_vocabulary(config):
    """Raises `InputError` unless the vocabulary size is set and contains `pad_id`."""
    size = config.vocab_size
    fields.expect(size > 0, "vocab_size", size, "the size of the store's vocabulary")
    fields.expect(0 <= config.pad_id < size, "pad_id", config.pad_id, "less than vocab_size")
