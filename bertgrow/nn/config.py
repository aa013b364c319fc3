"""What a BERT is made of: its sizes and choices, checked once with errors that help."""

import dataclasses

from bertgrow import errors

CHOICES = {
    "pool_mode": ("mean", "max", "concat"),
    "norm_order": ("post", "pre"),
    "activation": ("gelu", "gelu_tanh", "relu"),
    "positions_init": ("normal", "sinusoids"),
    "dtype": ("auto", "float32", "bfloat16"),
    "remat": ("none", "dots", "full"),
}


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """BERT (Devlin et al., 2019), or one of its cheaper forms (Gu et al., 2021)."""

    vocab_size: int = 30522
    num_layers: int = 12
    width: int = 768
    num_heads: int = 12
    ffn_width: int = 3072  # of the full model; `mlp_width` is what a layer holds
    ffn_share: int = 1  # one narrow FFN stands for this many, CompoundGrow's width axis
    ffn_rank: int = 0  # FFN matrices are products of two through this many; 0: whole
    light_every: int = 0  # each such layer attends as the one before it; 0: none
    pool: int = 1  # kept tokens to a query, CompoundGrow's length axis
    pool_mode: str = "mean"  # mean | max | concat
    max_length: int = 512
    num_types: int = 2
    norm_order: str = "post"  # post | pre: norms behind, or before, what a layer does
    activation: str = "gelu"  # gelu | gelu_tanh | relu
    dropout: float = 0.1
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
        return self.width // self.num_heads

    def sizes(self):
        """{axis: size}, which shapes the weights, and `norm_order`; growth compares both."""
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
        """Raises `InputError` at the first field that cannot be."""
        check_fields(self, CHOICES)
        divides(self, "num_heads", "width")
        divides(self, "ffn_share", "ffn_width")
        if self.light_every:
            expect(self.light_every > 1, "light_every", self.light_every, "0 or at least 2")
            divides(self, "light_every", "num_layers")
        expect(self.pool < self.max_length, "pool", self.pool, "below max_length")


def check_fields(config, choices):
    """Checks each field by itself; `choices` is {field: the values it may have}."""
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        if name in choices:
            expect(value in choices[name], name, value, choices[name])
        elif name in ("dropout", "attention_dropout"):
            expect(0 <= value < 1, name, value, "at least 0 and below 1")
        elif name == "init_scale":
            expect(value > 0, name, value, "above 0")
        elif name in ("ffn_rank", "light_every"):
            expect(value >= 0, name, value, "at least 0")
        elif name == "pad_id":
            expect(0 <= value < config.vocab_size, name, value, "below vocab_size")
        elif field.type is not bool:
            expect(value >= 1, name, value, "at least 1")


def divides(config, part, whole):
    """Raises `InputError` unless the field `part` divides the field `whole`."""
    small, large = getattr(config, part), getattr(config, whole)
    if large % small:
        raise errors.InputError(
            f"{part} {small} does not divide {whole} {large}: change one of the two"
        )


def expect(is_right, name, value, expected):
    """Raises `InputError` about the field `name` unless `is_right`."""
    if not is_right:
        words = " | ".join(expected) if isinstance(expected, tuple) else expected
        raise errors.InputError(f"{name} is {value!r}, expected {words}: change {name}")
