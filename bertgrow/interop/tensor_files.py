"""Finds and reads the tensors of a Hugging Face folder, whole or in shards, or of one file."""

import json
from pathlib import Path

import numpy as np

from bertgrow.core.errors import InputError
from bertgrow.interop import safetensors, torch_file

WEIGHTS = (  # in the order in which they are looked for
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def find(path):
    """The file of weights of a folder; `path` itself if it is a file."""
    path = Path(path)
    if path.is_file():
        return path
    files = [path / name for name in WEIGHTS if (path / name).is_file()]
    if not files:
        raise InputError(f"{path} has no weights: looked for {', '.join(WEIGHTS)}")
    return files[0]


def read(path):
    """Returns {name: array} of a file, or of all shards that an index file lists."""
    path = Path(path)
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    if path.suffix == ".safetensors":
        return safetensors.read(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    return torch_file.read(path)


def _read_shards(index):
    try:
        shard_of = json.loads(index.read_text("utf-8"))["weight_map"]
        shards = sorted(set(shard_of.values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{index} is no index of shards: {error}") from error
    tensors = {}
    for name in shards:
        shard = index.parent / name
        if Path(name).name != name or not shard.is_file():
            raise InputError(f"{index} names the shard {name!r}, which is not beside it")
        tensors |= read(shard)
    missing = sorted(shard_of.keys() - tensors.keys())
    if missing:
        raise InputError(f"{index} lists {missing[0]}, which no shard has; copy them again")
    return tensors
