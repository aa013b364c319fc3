"""What a MobileBERT, or the teacher of one, is made of: sizes and choices, checked once."""

import dataclasses

from bertgrow.nn import config as common

CHOICES = common.CHOICES | {
    "attention_input": ("shared", "bottleneck", "input"),
    "norm": ("layer", "none", "folded"),
    "activation": (*common.CHOICES["activation"], "relu6"),
}
TRIGRAM = 3  # neighbours that the embeddings merge


@dataclasses.dataclass(frozen=True)
class MobileBertConfig:
    """MobileBERT (Sun et al., 2020) as released, unless told otherwise.

    The released wiring shares one bottleneck between keys and queries; the paper's Table 1
    shows attention on the wide input. See `mobilebert/presets.py` for both, and the others.
    """

    vocab_size: int = 30522
    num_layers: int = 24
    width: int = 512  # between blocks
    table_width: int = 128  # of the word table; `width - table_width` more in the head
    body_width: int = 128  # inside blocks
    num_heads: int = 4
    attention_input: str = "shared"  # shared | bottleneck | input
    num_ffns: int = 4  # stacked in a block
    ffn_width: int = 512  # of the full model; `mlp_width` is what an FFN holds
    ffn_share: int = 1  # one narrow FFN stands for this many, CompoundGrow's width axis
    norm: str = "none"  # none: scale and shift alone | layer | folded: see fold.py
    activation: str = "relu"  # gelu | gelu_tanh | relu | relu6
    pooler: bool = False  # dense and tanh on the first token
    max_length: int = 512
    num_types: int = 2
    dropout: float = 0.0  # of embeddings and block outputs
    attention_dropout: float = 0.1
    positions_init: str = "normal"  # normal | sinusoids; learned either way
    next_sentence: bool = True
    pad_id: int = 0
    dtype: str = "auto"  # auto: float32 on a CPU, bfloat16 elsewhere
    remat: str = "none"  # none | dots | full
    init_scale: float = 0.02

    @property
    def mlp_width(self):
        return self.ffn_width // self.ffn_share

    @property
    def head_width(self):
        return self.body_width // self.num_heads

    def sizes(self):
        """{axis: size}, which shapes the weights and which growth compares."""
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
        """Raises `InputError` at the first field that cannot be."""
        common.check_fields(self, CHOICES)
        common.divides(self, "num_heads", "body_width")
        common.divides(self, "ffn_share", "ffn_width")
        common.expect(
            self.table_width < self.width, "table_width", self.table_width, "below width"
        )
