"""Names and layouts of weights in Hugging Face files and in Google's TF1 checkpoints.

A family lists every `Weight` of a model once, in `Layouts.weights`; `bertgrow.interop` reads
and writes both kinds of files with that list.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

HUGGING_FACE, TF1 = "hf", "tf1"  # the programs
JOINED = ("kv", "kv_in", "table_in")  # axes that foreign weights join with the one before


class Weight(NamedTuple):
    """One weight of one layer: its place in our parameters, and its names elsewhere.

    Foreign weights have no axes of heads: `heads kv` is one axis there (`JOINED`). The axes of
    a transposed weight, a matrix, are in the opposite order.
    """

    path: str  # leaf of our parameters, "layers/query/kernel"
    index: tuple  # into the stacked axes of the leaf: (layer,), (layer, ffn) or ()
    hf: str  # "bert.encoder.layer.3.attention.self.query.weight"
    tf1: str  # "bert/encoder/layer_3/attention/self/query/kernel"
    transposed: tuple = ()  # of `HUGGING_FACE` and `TF1`, those that transpose it


class Layouts(NamedTuple):
    """How other programs store the models of a family.

    `weights(config) -> [Weight]`.
    `recognises(fields) -> bool`, whether config.json describes a model of this family.
    `read(fields, names, program) -> config` builds our configuration; `names` are those of
    the weights in the file. Raises InputError if the family lacks what `fields` ask for.
    `write(config, program) -> fields` of config.json. Raises InputError if the program's
    model classes cannot express the configuration.
    `aliases(config)` is {name: other name} of Hugging Face's tied weights.
    `variant(config, program)` is None, or a configuration of ours that computes what that
    program computes, and the difference in words.
    """

    weights: Callable
    recognises: Callable
    read: Callable
    write: Callable
    aliases: Callable
    variant: Callable


def dense(path, name, index=()):
    """The weights of a dense layer; Hugging Face stores the kernel as [out, in]."""
    kernel = Weight(
        f"{path}/kernel", index, f"{name}.weight", f"{tf1_name(name)}/kernel", (HUGGING_FACE,)
    )
    return [kernel, Weight(f"{path}/bias", index, f"{name}.bias", f"{tf1_name(name)}/bias")]


def norm(path, name, index=(), tf1_suffix=""):
    """The weights of a norm; TF1 calls them gamma and beta."""
    tf1 = tf1_name(name) + tf1_suffix
    return [
        Weight(f"{path}/scale", index, f"{name}.weight", f"{tf1}/gamma"),
        Weight(f"{path}/bias", index, f"{name}.bias", f"{tf1}/beta"),
    ]


def table(path, name):
    """The weight of an embedding table, which is stored alike everywhere."""
    return [Weight(path, (), f"{name}.weight", tf1_name(name))]


def tied_table(name):
    """`Layouts.aliases` of a model whose output table is its word table, called `name`."""
    return {
        "cls.predictions.decoder.weight": f"{name}.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }


def masked_head(path="mlm"):
    """The weights of the masked-token head, without its tied table."""
    name = "cls.predictions"
    bias = Weight(f"{path}/output_bias", (), f"{name}.bias", f"{tf1_name(name)}/output_bias")
    transform = f"{name}.transform"
    return [
        *dense(path, f"{transform}.dense"),
        *norm(f"{path}/norm", f"{transform}.LayerNorm"),
        bias,
    ]


def next_sentence(path="nsp"):
    """The weights of the next-sentence head; TF1 stores its kernel as [out, in] too."""
    name, both = "cls.seq_relationship", (HUGGING_FACE, TF1)
    return [
        Weight(
            f"{path}/kernel", (), f"{name}.weight", f"{tf1_name(name)}/output_weights", both
        ),
        Weight(f"{path}/bias", (), f"{name}.bias", f"{tf1_name(name)}/output_bias"),
    ]


def has_next_sentence(names):
    """Whether a file with weights of these names has the next-sentence head."""
    return any("cls" in name and "seq_relationship" in name for name in names)


def tf1_name(name):
    """`bert/encoder/layer_3/output` for `bert.encoder.layer.3.output`."""
    name = name.replace("ffn.", "ffn_layer.")
    return re.sub(r"\.(\d+)\.", r"_\1/", name).replace(".", "/")
