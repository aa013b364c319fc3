"""What a BERT is made of: its sizes and choices, checked once with errors that help."""

import dataclasses

from bertgrow import errors

CHOICES = {
    "pool_mode": ("mean", "max", "concat"),
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
    pool: int = 1  # kept tokens to a query, CompoundGrow's length axis
    pool_mode: str = "mean"  # mean | max | concat
    max_length: int = 512
    num_types: int = 2
    activation: str = "gelu"  # gelu | gelu_tanh | relu
    dropout: float = 0.1
    attention_dropout: float = 0.1
    positions_init: str = "normal"  # normal | sinusoids; learned either way
    next_sentence: bool = True
    pad_id: int = 0
    dtype: str = "auto"  # auto: float32 on a CPU, bfloat16 elsewhere
    remat: str = "none"  # none | dots | full
    init_scale: float = 0.02
    frozen_layers: int = 0  # the lowest, which get no gradient, nor does what feeds them

    @property
    def mlp_width(self):
        return self.ffn_width // self.ffn_share

    @property
    def head_width(self):
        return self.width // self.num_heads

    def check(self):
        """Raises `InputError` at the first field that cannot be."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in CHOICES:
                _expect(value in CHOICES[field.name], field.name, value, CHOICES[field.name])
            elif field.name in ("dropout", "attention_dropout"):
                _expect(0 <= value < 1, field.name, value, "at least 0 and below 1")
            elif field.name == "init_scale":
                _expect(value > 0, field.name, value, "above 0")
            elif field.name not in ("next_sentence", "pad_id", "frozen_layers"):
                _expect(value >= 1, field.name, value, "at least 1")
        _divides(self, "num_heads", "width")
        _divides(self, "ffn_share", "ffn_width")
        is_trained = 0 <= self.frozen_layers < self.num_layers
        _expect(is_trained, "frozen_layers", self.frozen_layers, "0 or more, below num_layers")
        _expect(0 <= self.pad_id < self.vocab_size, "pad_id", self.pad_id, "below vocab_size")
        _expect(self.pool < self.max_length, "pool", self.pool, "below max_length")


def sizes(config):
    """{axis: size} of a configuration, the table that growth compares."""
    return {
        "layers": config.num_layers,
        "vocab": config.vocab_size,
        "positions": config.max_length,
        "types": config.num_types,
        "embed": config.width,
        "heads": config.num_heads,
        "kv": config.head_width,
        "mlp": config.mlp_width,
        "pool": config.pool,
    }


def _divides(config, part, whole):
    small, large = getattr(config, part), getattr(config, whole)
    if large % small:
        raise errors.InputError(
            f"{part} {small} does not divide {whole} {large}: change one of the two"
        )


def _expect(is_right, name, value, expected):
    if not is_right:
        words = " | ".join(expected) if isinstance(expected, tuple) else expected
        raise errors.InputError(f"{name} is {value!r}, expected {words}: change {name}")
