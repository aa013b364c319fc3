"""The models of Sun et al. (2020), Table 1, as fields of `MobileBertConfig`.

Each takes fields that differ, e.g. `MobileBertConfig(**presets.mobilebert(num_layers=6))`.
Activations, norms and dropout are those of the released configurations.
"""

import dataclasses

from mobilebert.config import MobileBertConfig


def ib_bert_large(**fields):
    """The teacher: BERT-large with inverted bottlenecks."""
    return _fields(
        dict(
            body_width=1024,
            attention_input="input",
            num_ffns=1,
            ffn_width=4096,
            norm="layer",
            activation="gelu_tanh",  # what the released code calls gelu
            pooler=True,
            dropout=0.1,
        ),
        fields,
    )


def mobilebert(**fields):
    """The student as released: keys and queries share a bottleneck of their own."""
    return _fields({}, fields)


def mobilebert_table1(**fields):
    """The student as in Table 1: attention reads the 512-wide input of a block."""
    return _fields(dict(attention_input="input"), fields)


def mobilebert_tiny(**fields):
    """The smallest student: two FFNs a block, and attention inside the bottleneck."""
    return _fields(dict(attention_input="bottleneck", num_ffns=2), fields)


def mobilebert_without_opt(**fields):
    """The student of Table 7 before operational optimisation; its wiring is Table 1's."""
    changed = dict(attention_input="input", norm="layer", activation="gelu_tanh")
    return _fields(changed, fields)


def _fields(preset, fields):
    """All fields but `pad_id`, which is the vocabulary's, so that a recipe can set each."""
    config = dataclasses.asdict(MobileBertConfig(**{**preset, **fields}))
    return {name: value for name, value in config.items() if name != "pad_id"}
