"""The models of Sun et al. (2020), Table 1, as fields of `MobileBertConfig`.

Each accepts other fields, e.g. `MobileBertConfig(**presets.mobilebert(num_layers=6))`.
Activations, norms and dropout are those of the released configurations.
"""

from bertgrow.core import fields
from mobilebert.models.config import MobileBertConfig


def ib_bert_large(**overrides):
    """The teacher: BERT-large with inverted bottlenecks."""
    return _fields(
        dict(
            body_width=1024,
            attention_input="input",
            num_ffns=1,
            ffn_width=4096,
            norm="layer",
            activation="gelu_tanh",  # `gelu` in the released code
            pooler=True,
            dropout=0.1,
        ),
        overrides,
    )


def mobilebert(**overrides):
    """The student as released: keys and queries share a bottleneck of their own."""
    return _fields({}, overrides)


def mobilebert_table1(**overrides):
    """The student as in Table 1: attention reads the 512-wide input of a block."""
    return _fields(dict(attention_input="input"), overrides)


def mobilebert_tiny(**overrides):
    """The smallest student: two FFNs a block, and attention inside the bottleneck."""
    return _fields(dict(attention_input="bottleneck", num_ffns=2), overrides)


def mobilebert_without_opt(**overrides):
    """The student of Table 7 before operational optimisation; its wiring is Table 1's."""
    changed = dict(attention_input="input", norm="layer", activation="gelu_tanh")
    return _fields(changed, overrides)


def _fields(preset, overrides):
    """{name: value} of every field that a recipe can set."""
    return fields.values(MobileBertConfig(**{**preset, **overrides}))
