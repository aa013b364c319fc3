"""BERT in other programs: names of its weights, and its fields in config.json."""

import dataclasses

from bertgrow.core import layouts
from bertgrow.core.errors import InputError
from bertgrow.core.layouts import TF1, Layouts
from bertgrow.models.config import BertConfig

EPSILON = 1e-12  # of every LayerNorm
POST, PRE = "bert", "megatron-bert"  # model types of Hugging Face by `norm_order`
LAYER = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}
NORMS = {
    "post": {"attention_norm": "attention.output.LayerNorm", "mlp_norm": "output.LayerNorm"},
    "pre": {"attention_norm": "attention.ln", "mlp_norm": "ln"},
}
FIELDS = {  # our field: field of config.json
    "vocab_size": "vocab_size",
    "width": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "ffn_width": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "max_length": "max_position_embeddings",
    "num_types": "type_vocab_size",
    "init_scale": "initializer_range",
}
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
EXPECTED = {  # fields of config.json that must have this value where they are given
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "layer_norm_eps": EPSILON,
}
# Fields with which a low-cost encoder leaves the architecture of BERT.
PLAIN = {"pool": 1, "ffn_rank": 0, "light_every": 0}


def weights(config):
    """Every `Weight` of a BERT; a pre-norm one has Megatron's names."""
    norms, embeddings = NORMS[config.norm_order], "bert.embeddings"
    entries = [
        *layouts.table("embeddings/words", f"{embeddings}.word_embeddings"),
        *layouts.table("embeddings/positions", f"{embeddings}.position_embeddings"),
        *layouts.table("embeddings/types", f"{embeddings}.token_type_embeddings"),
    ]
    if config.norm_order == "post":
        entries += layouts.norm("embeddings/norm", f"{embeddings}.LayerNorm")
    for at in range(config.num_layers):
        layer = f"bert.encoder.layer.{at}"
        for field, name in LAYER.items():
            entries += layouts.dense(f"layers/{field}", f"{layer}.{name}", (at,))
        for field, name in norms.items():
            entries += layouts.norm(f"layers/{field}", f"{layer}.{name}", (at,))
    if config.norm_order == "pre":
        entries += layouts.norm("final_norm", "bert.encoder.ln")
    entries += layouts.dense("pooler", "bert.pooler.dense") + layouts.masked_head()
    return entries + layouts.next_sentence() * config.next_sentence


def aliases(config):
    """Tied weights: the output table is the word table."""
    del config
    return layouts.tied_table("bert.embeddings.word_embeddings")


def recognises(fields):
    """Whether config.json describes a BERT; Google's own file has no `model_type`."""
    kind = fields.get("model_type")
    is_google = kind is None and "hidden_size" in fields and "embedding_size" not in fields
    return kind in (POST, PRE) or is_google


def read(fields, names, program):
    """Builds the `BertConfig` that config.json describes."""
    is_pre = fields.get("model_type") == PRE
    check(fields, EXPECTED)
    return BertConfig(
        **take(fields, FIELDS),
        norm_order="pre" if is_pre else "post",
        activation=activation(fields, ACTIVATIONS, program),
        next_sentence=layouts.has_next_sentence(names),
        pad_id=fields.get("pad_token_id", 0),
    )


def write(config, program):
    """Fields of config.json; InputError if that program has no such model."""
    for name, value in PLAIN.items():
        if getattr(config, name) != value:
            raise InputError(
                f"the model has {name} {getattr(config, name)}, which no class of other "
                f"programs has: export a later stage, or use --to bertgrow"
            )
    is_pre = config.norm_order == "pre"
    if is_pre and program == TF1:
        raise InputError(
            "the model has norm_order 'pre', which Google's BERT does not have: use --to hf "
            "or --to bertgrow"
        )
    fields = {foreign: getattr(config, field) for field, foreign in FIELDS.items()}
    fields["intermediate_size"] = config.mlp_width
    fields["hidden_act"] = activation_name(config.activation, program)
    if program == TF1:
        return fields
    kind = "MegatronBert" if is_pre else "Bert"
    head = "PreTraining" if config.next_sentence else "MaskedLM"
    return fields | dict(
        architectures=[f"{kind}For{head}"],
        model_type=PRE if is_pre else POST,
        layer_norm_eps=EPSILON,
        pad_token_id=config.pad_id,
        position_embedding_type="absolute",
        torch_dtype="float32",
    )


def variant(config, program):
    """Google's code computes gelu by tanh."""
    if program == TF1 and config.activation == "gelu":
        changed = dataclasses.replace(config, activation="gelu_tanh")
        return changed, "Google's code computes gelu by tanh, this model by erf"
    return None


def take(fields, table):
    """{our field: value} of the fields in `table` that config.json has."""
    missing = [foreign for foreign in table.values() if foreign not in fields]
    if "hidden_size" in missing:
        raise InputError(
            "config.json has no hidden_size: expected that of a Hugging Face model or a "
            "bert_config.json"
        )
    return {field: fields[foreign] for field, foreign in table.items() if foreign in fields}


def check(fields, expected):
    """Raises InputError at the first field with another value than that expected."""
    for name, value in expected.items():
        if fields.get(name, value) != value:
            raise InputError(
                f"config.json has {name} {fields[name]!r}; only {value!r} is supported: "
                "use a checkpoint of plain BERT"
            )


def activation(fields, known, program):
    """Our name of `hidden_act`. In Google's code `gelu` is the tanh form."""
    name = fields.get("hidden_act", "gelu")
    if name not in known:
        raise InputError(
            f"config.json has hidden_act {name!r}; expected one of {', '.join(known)}"
        )
    return "gelu_tanh" if program == TF1 and name == "gelu" else known[name]


def activation_name(field, program):
    """Name of our activation in config.json."""
    if program == TF1:
        return field.removesuffix("_tanh")
    return "gelu_new" if field == "gelu_tanh" else field


LAYOUTS = Layouts(weights, recognises, read, write, aliases, variant)
