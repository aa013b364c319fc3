"""Configuration of MobileBERT or its teacher."""

import dataclasses

from bertgrow.core import fields
from bertgrow.core.fields import option
from bertgrow.models import config as common

TRIGRAM = 3  # neighbouring tokens that the embeddings combine


@dataclasses.dataclass(frozen=True)
class MobileBertConfig:
    """MobileBERT as released (Sun et al., 2020), or the teacher of one.

    The released wiring shares one bottleneck between keys and queries; the paper's Table 1
    shows attention on the wide input. `mobilebert/models/presets.py` has both, and others.
    """

    vocab_size: int = option(
        30522, "tokens of the vocabulary; 0: as many as the store's has", minimum=0
    )
    num_layers: int = option(24, "transformer layers", minimum=1)
    width: int = option(512, "width of the hidden states between blocks", minimum=1)
    table_width: int = option(
        128, "width of the embedding table; less than width, the head adds the rest", minimum=1
    )
    body_width: int = option(128, "width of the hidden states inside a block", minimum=1)
    num_heads: int = option(4, "attention heads of a block; divides body_width", minimum=1)
    attention_input: str = option(
        "shared",
        "what queries and keys are made of: one more bottleneck, shared by both; the block's "
        "bottleneck; its wide input",
        choices=("shared", "bottleneck", "input"),
    )
    num_ffns: int = option(4, "FFNs of a block, one after another", minimum=1)
    ffn_width: int = option(512, "FFN width of the full model", minimum=1)
    ffn_share: int = option(
        1,
        "one FFN of width ffn_width / ffn_share stands for so many, CompoundGrow's width axis",
        minimum=1,
    )
    norm: str = option(
        "none",
        "LayerNorm; NoNorm, scale and shift alone; NoNorm folded into the weights",
        choices=("layer", "none", "folded"),
    )
    activation: str = option(
        "relu", "activation of the FFNs", choices=(*common.ACTIVATIONS, "relu6")
    )
    pooler: bool = option(False, "adds a dense layer and tanh on the first token")
    max_length: int = option(512, "positions in the position table", unit="tokens", minimum=1)
    num_types: int = option(2, "segment types", minimum=1)
    dropout: float = option(0.0, "dropout of embeddings and block outputs", minimum=0, below=1)
    attention_dropout: float = option(
        0.1, "dropout of attention probabilities", minimum=0, below=1
    )
    positions_init: str = option(
        "normal",
        "initial values of the position table; it is learned",
        choices=common.POSITIONS,
    )
    next_sentence: bool = option(
        True, "adds the next-sentence head and loss; needs data.rows = 'pairs'"
    )
    pad_id: int = 0  # of the store's vocabulary
    loose_norms: bool = False  # the LayerNorms of `blocks.LOOSE` as Hugging Face has them
    dtype: str = option(
        "auto",
        "of activations; auto: bfloat16 on a TPU, and on a GPU of compute capability 8.0 or "
        "above, else float32",
        choices=common.DTYPES,
    )
    remat: str = option(
        "none",
        "what the backward pass computes again: nothing, all but matrix products, all",
        choices=common.REMAT,
    )
    init_scale: float = option(0.02, "standard deviation of initial weights", above=0)

    @property
    def mlp_width(self):
        return self.ffn_width // self.ffn_share

    @property
    def head_width(self):
        return self.body_width // self.num_heads

    def sizes(self):
        """{axis: size}: the shapes of the weights, compared by growth."""
        return {
            "layers": self.num_layers,
            "ffn": self.num_ffns,
            "vocab": self.vocab_size,
            "positions": self.max_length,
            "types": self.num_types,
            "trigram": TRIGRAM,
            "table": self.table_width,
            "extra": self.width - self.table_width,
            "embed": self.width,
            "body": self.body_width,
            "heads": self.num_heads,
            "kv": self.head_width,
            "mlp": self.mlp_width,
        }

    def check(self):
        """Raises `InputError` at the first invalid field."""
        fields.check(type(self), fields.values(self))
        common.check_vocabulary(self)
        fields.divides(self, "num_heads", "body_width")
        fields.divides(self, "ffn_share", "ffn_width")
        fields.expect(
            self.table_width < self.width, "table_width", self.table_width, "less than width"
        )
