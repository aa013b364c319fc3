"""MobileBERT in other programs: names of its weights, and its fields in config.json."""

import dataclasses

from bertgrow.core import layouts
from bertgrow.core.errors import InputError
from bertgrow.core.layouts import HUGGING_FACE, TF1, Layouts, Weight
from bertgrow.models import names as bert
from mobilebert.models.config import MobileBertConfig

BLOCK = {
    "bottleneck": "bottleneck.input.dense",
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "expand": "output.bottleneck.dense",
}
BLOCK_NORMS = {
    "bottleneck_norm": "bottleneck.input.LayerNorm",
    "attention_norm": "attention.output.LayerNorm",
    "expand_norm": "output.bottleneck.LayerNorm",
}
FFN = {"up": "intermediate.dense", "down": "output.dense"}
FIELDS = bert.FIELDS | {"table_width": "embedding_size", "body_width": "intra_bottleneck_size"}
ACTIVATIONS = bert.ACTIVATIONS | {"relu6": "relu6"}
NORMS = {"no_norm": "none", "layer_norm": "layer"}
EXPECTED = {"trigram_input": True, "use_bottleneck": True}
WIRING = {  # attention_input: the two fields of config.json
    "input": dict(key_query_shared_bottleneck=False, use_bottleneck_attention=False),
    "shared": dict(key_query_shared_bottleneck=True, use_bottleneck_attention=False),
    "bottleneck": dict(key_query_shared_bottleneck=False, use_bottleneck_attention=True),
}


def weights(config):
    """Every `Weight` of a MobileBERT or of its teacher.

    Of several FFNs, the last has the names of the only one of a BERT.
    """
    entries = _embeddings(config)
    for at in range(config.num_layers):
        block = f"mobilebert.encoder.layer.{at}"
        parts, norms = dict(BLOCK), dict(BLOCK_NORMS)
        if config.attention_input == "shared":
            parts["shared"] = "bottleneck.attention.dense"
            norms["shared_norm"] = "bottleneck.attention.LayerNorm"
        for field, name in parts.items():
            entries += _dense(f"layers/{field}", f"{block}.{name}", (at,))
        for field, name in norms.items():
            entries += _norm(config, f"layers/{field}", f"{block}.{name}", (at,))
        for ffn in range(config.num_ffns):
            inner = block if ffn == config.num_ffns - 1 else f"{block}.ffn.{ffn}"
            for field, name in FFN.items():
                entries += _dense(f"layers/{field}", f"{inner}.{name}", (at, ffn))
            entries += _norm(config, "layers/mlp_norm", f"{inner}.output.LayerNorm", (at, ffn))
    return entries + _heads(config)


def _embeddings(config):
    name = "mobilebert.embeddings"
    return [
        *_table("embeddings/words", f"{name}.word_embeddings"),
        *_table("embeddings/positions", f"{name}.position_embeddings"),
        *_table("embeddings/types", f"{name}.token_type_embeddings"),
        *_dense("embeddings/trigram", f"{name}.embedding_transformation"),
        *_norm(config, "embeddings/norm", f"{name}.LayerNorm"),
    ]


def _heads(config):
    """The heads. The masked-token head has a real LayerNorm in every student."""
    predictions = "cls/predictions/extra_output_weights"
    extra = Weight(
        "mlm/extra", (), "cls.predictions.dense.weight", predictions, (HUGGING_FACE,)
    )
    pooler = _dense("pooler", "mobilebert.pooler.dense") if config.pooler else []
    pairs = layouts.next_sentence() if config.next_sentence else []
    return [*pooler, *layouts.masked_head(), extra, *pairs]


def _norm(config, path, name, index=()):
    """A norm of the encoder. TF1 names NoNorm "FakeLayerNorm", Hugging Face "LayerNorm"."""
    rows = layouts.norm(path, name, index)
    if config.norm == "none":
        rows = [row._replace(tf1=row.tf1.replace("LayerNorm", "FakeLayerNorm")) for row in rows]
    return _in_bert(rows)


def _dense(path, name, index=()):
    return _in_bert(layouts.dense(path, name, index))


def _table(path, name):
    return _in_bert(layouts.table(path, name))


def _in_bert(rows):
    """In TF1 the encoder is called `bert`."""
    return [row._replace(tf1=row.tf1.replace("mobilebert/", "bert/")) for row in rows]


def aliases(config):
    """Tied weights: the narrow output table is the word table."""
    del config
    return layouts.tied_table("mobilebert.embeddings.word_embeddings")


def recognises(fields):
    """Whether config.json describes a MobileBERT; Google's file has no `model_type`."""
    kind = fields.get("model_type")
    return kind == "mobilebert" or (kind is None and "intra_bottleneck_size" in fields)


def read(fields, names, program):
    """Builds the `MobileBertConfig` that config.json describes.

    `classifier_activation`, which is true where it is not given, adds the pooler. A file of
    weights without one is of a model that leaves it out.
    """
    bert.check(fields, EXPECTED)
    norm = fields.get(
        "normalization_type", "no_norm" if program == HUGGING_FACE else "layer_norm"
    )
    if norm not in NORMS:
        raise InputError(
            f"config.json has normalization_type {norm!r}; expected one of {', '.join(NORMS)}"
        )
    return MobileBertConfig(
        **bert.take(fields, FIELDS),
        attention_input=_wiring(fields, program),
        num_ffns=fields.get("num_feedforward_networks", 4 if program == HUGGING_FACE else 1),
        norm=NORMS[norm],
        activation=bert.activation(fields, ACTIVATIONS, program),
        pooler=fields.get("classifier_activation", True)
        and any("pooler" in name for name in names),
        next_sentence=layouts.has_next_sentence(names),
        pad_id=fields.get("pad_token_id", 0),
    )


def _wiring(fields, program):
    """`attention_input`. Bottleneck attention comes first, as in both programs."""
    if fields.get("use_bottleneck_attention", False):
        return "bottleneck"
    is_shared = fields.get("key_query_shared_bottleneck", program == HUGGING_FACE)
    return "shared" if is_shared else "input"


def write(config, program):
    """Fields of config.json; InputError if that program has no such model."""
    if config.norm == "folded":
        raise InputError(
            "the model's NoNorm is folded into its weights, which no other program expects: "
            "export the model before folding"
        )
    if program == HUGGING_FACE and config.attention_input == "input":
        raise InputError(
            "the model has attention_input 'input' (the teacher, or Table 1's wiring), whose "
            "queries and keys Hugging Face's MobileBERT cannot read: use --to tf1 or "
            "--to bertgrow"
        )
    fields = {foreign: getattr(config, field) for field, foreign in FIELDS.items()}
    fields |= WIRING[config.attention_input] | EXPECTED | dict(
        intermediate_size=config.mlp_width,
        num_feedforward_networks=config.num_ffns,
        normalization_type={field: foreign for foreign, field in NORMS.items()}[config.norm],
        hidden_act=bert.activation_name(config.activation, program),
        classifier_activation=config.pooler,
    )  # fmt: skip
    if program == TF1:
        return fields
    head = "PreTraining" if config.next_sentence else "MaskedLM"
    return fields | dict(
        architectures=[f"MobileBertFor{head}"],
        model_type="mobilebert",
        layer_norm_eps=bert.EPSILON,
        pad_token_id=config.pad_id,
        torch_dtype="float32",
    )


def variant(config, program):
    """Two of Hugging Face's LayerNorms leave out their epsilon, so that it is torch's."""
    if program == HUGGING_FACE and config.norm == "layer":
        changed = dataclasses.replace(config, loose_norms=True)
        return changed, "two LayerNorms of Hugging Face's class have epsilon 1e-5, not 1e-12"
    return bert.variant(config, program)


LAYOUTS = Layouts(weights, recognises, read, write, aliases, variant)
