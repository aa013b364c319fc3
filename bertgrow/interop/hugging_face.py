"""Reads and writes models in the files of Hugging Face's transformers."""

import re
from pathlib import Path

import numpy as np

from bertgrow.core.errors import InputError
from bertgrow.core.layouts import HUGGING_FACE
from bertgrow.interop import conversion, safetensors, tensor_files, tokenizer_files
from bertgrow.interop.pretrained import Pretrained, find_family, fit, read_json, write_json
from bertgrow.models import families

# Kinds of task heads: name of the module, and end of the name of the class.
TASK_HEADS = {
    "classifier": ("classifier", "SequenceClassification"),
    "spans": ("qa_outputs", "QuestionAnswering"),
}
OLD = {"gamma": "weight", "beta": "bias"}  # names of a LayerNorm's weights before 2019


def read(path, *, vocab=None, cased=None, fresh=conversion.HEADS):
    """Reads a model of a folder, or of a file of weights with config.json beside it.

    Args:
      path: folder or file.
      vocab, cased: see `tokenizer_files.read`.
      fresh: modules that may be missing and get random weights.

    Returns:
      `Pretrained` and `conversion.Account`.

    Raises:
      InputError: a file is missing or damaged, the model is of no known family, or its
        weights are not those that config.json describes.
    """
    weights = tensor_files.find(path)
    folder = weights.parent
    fields = read_json(folder / "config.json")
    name = find_family(fields)
    family = families.find(name)
    tensors = _named(tensor_files.read(weights), family)
    config = family.layouts.read(fields, tensors.keys(), HUGGING_FACE)
    tokenizer, file = tokenizer_files.read(folder, vocab=vocab, cased=cased)
    config = fit(config, tokenizer, file)
    params, account = conversion.load(tensors, family, config, HUGGING_FACE, fresh=fresh)
    pretrained = Pretrained(name, config, params, tokenizer, str(path), fresh=account.fresh)
    return pretrained, account


def _named(tensors, family):
    """Gives tensors today's full names: old norms, and a file of the encoder alone."""
    prefix = _prefix(family)
    is_alone = not any(name.startswith((prefix, "cls.")) for name in tensors)
    renamed = {}
    for name, tensor in tensors.items():
        name = re.sub(r"(gamma|beta)$", lambda end: OLD[end[0]], name)
        is_encoder = name.startswith(("embeddings.", "encoder.", "pooler."))
        renamed[f"{prefix}{name}" if is_alone and is_encoder else name] = tensor
    return renamed


def _prefix(family):
    first = family.layouts.weights(family.config(num_layers=1))[0]
    return first.hf.partition(".")[0] + "."


def write(folder, model):
    """Writes a `Pretrained` as a folder for `from_pretrained`.

    Raises:
      InputError: Hugging Face has no class for the model or its vocabulary.
    """
    family, folder = families.find(model.family), Path(folder)
    fields = family.layouts.write(model.config, HUGGING_FACE)
    check_complete(model)
    make_folder(folder)
    tokenizer_files.write(folder, model.tokenizer, max_length=model.config.max_length)
    tensors = conversion.dump(model.params, family, model.config, HUGGING_FACE)
    if model.head:
        tensors |= _head_tensors(model.head)
        fields |= _head_fields(model.head, fields)
    safetensors.write(folder / "model.safetensors", tensors, {"format": "pt"})
    write_json(folder / "config.json", fields)


def _head_tensors(head):
    """Weights of a task head, by the names of Hugging Face."""
    name, kernel = TASK_HEADS[head.kind][0], np.asarray(head.weights["kernel"], np.float32)
    return {
        f"{name}.weight": np.ascontiguousarray(kernel.T),
        f"{name}.bias": np.asarray(head.weights["bias"], np.float32),
    }


def _head_fields(head, fields):
    """Fields of config.json for the class with this task head, and its labels."""
    body = fields["architectures"][0].partition("For")[0]
    added = dict(architectures=[f"{body}For{TASK_HEADS[head.kind][1]}"])
    if head.kind == "spans":
        return added
    names = head.classes or ("score",)
    added |= dict(
        id2label={str(number): name for number, name in enumerate(names)},
        label2id={name: number for number, name in enumerate(names)},
        problem_type="single_label_classification" if head.classes else "regression",
    )
    return added


def check_complete(model):
    """Raises InputError if the body of the model is random."""
    body = [name for name in model.fresh if name not in conversion.HEADS]
    if body:
        raise InputError(f"{model.source}: its {', '.join(body)} are random; train it first")


def make_folder(folder):
    """Makes an empty folder; InputError if it has files already."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise InputError(f"--output {folder} cannot be made: {error}") from error
    if not is_empty:
        raise InputError(f"--output {folder} has files already; give a new folder")
