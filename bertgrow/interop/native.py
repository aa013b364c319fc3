"""Reads and writes models of any family in this project's own layout.

A folder holds `config.json`, with our fields, `model.safetensors`, whose names are the paths
of our parameters, and the vocabulary. It holds what other programs have no classes for.
"""

from pathlib import Path

import jax
import numpy as np

from bertgrow.core import fields as declared
from bertgrow.core import tree
from bertgrow.core.errors import InputError
from bertgrow.data.corpus import vocabulary
from bertgrow.interop import safetensors
from bertgrow.interop.hugging_face import make_folder
from bertgrow.interop.pretrained import Pretrained, fit, read_json, write_json
from bertgrow.models import families

FORMAT = "bertgrow model"


def write(folder, model):
    """Writes a `Pretrained`."""
    folder = Path(folder)
    make_folder(folder)
    leaves = jax.tree.leaves_with_path(model.params)
    tensors = {tree.path_name(path): np.asarray(leaf, np.float32) for path, leaf in leaves}
    safetensors.write(folder / "model.safetensors", tensors)
    (folder / model.tokenizer.file_name).write_bytes(model.tokenizer.content)
    write_json(folder / "config.json", dict(
        format=FORMAT,
        family=model.family,
        model=declared.values(model.config),
        vocabulary=dict(file=model.tokenizer.file_name, cased=model.tokenizer.cased),
        fresh=list(model.fresh),
    ))  # fmt: skip


def read(folder):
    """Reads a `Pretrained`; InputError if a weight is missing, unexpected or not finite."""
    folder = Path(folder)
    fields = read_json(folder / "config.json")
    try:
        family = families.find(fields["family"])
        about, model, fresh = fields["vocabulary"], fields["model"], fields["fresh"]
        tokenizer = vocabulary.load(folder / about["file"], cased=about["cased"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / 'config.json'} lacks {error}; export it again") from error
    config = declared.make(family.config, model, f"{folder / 'config.json'} model")
    config = fit(config, tokenizer, folder / about["file"])
    params = _params(safetensors.read(folder / "model.safetensors"), family.network(config))
    return Pretrained(
        fields["family"], config, params, tokenizer, str(folder), fresh=tuple(fresh)
    )


def is_native(fields):
    """Whether config.json is of a folder in this layout."""
    return fields.get("format") == FORMAT


def _params(tensors, network):
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    expected = {
        tree.path_name(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(shapes)
    }
    for name in sorted(tensors.keys() | expected.keys()):
        shape = tensors[name].shape if name in tensors else None
        if shape != expected.get(name):
            raise InputError(
                f"the tensor {name} has shape {shape}, and {expected.get(name)} is expected by "
                "config.json: export the model again"
            )
        if not np.isfinite(tensors[name]).all():
            raise InputError(f"the tensor {name} has numbers that are not finite (NaN or inf)")
    return jax.tree.map_with_path(
        lambda path, _: np.asarray(tensors[tree.path_name(path)], np.float32), shapes
    )
