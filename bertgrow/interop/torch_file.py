"""Reads the tensors of a `pytorch_model.bin` without torch and without running its code.

The file is a pickle, which could call any function. Here the unpickler knows only the names
that a state dict of tensors needs, and gives its own functions for them. Both forms are read:
the zip archive of torch 1.6 and later, and the sequence of pickles before that.
"""

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from bertgrow.core.errors import InputError

MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of the form before torch 1.6
STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("bool"),
}


class _Tensor(NamedTuple):
    """A tensor of the pickle: a view into a storage that may be read later."""

    key: str
    dtype: Any
    offset: int
    shape: tuple
    strides: tuple


def read(path):
    """Returns {name: array}; InputError if the file asks for anything but tensors."""
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            if zipfile.is_zipfile(stream):
                state, storages = _read_zip(stream)
            else:
                stream.seek(0)
                state, storages = _read_pickles(stream)
        return {name: _view(tensor, storages) for name, tensor in _flat(state)}
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # pickles of other programs fail in any way
        raise InputError(f"{path} is no file of PyTorch weights: {error}") from error


def _read_zip(stream):
    with zipfile.ZipFile(stream) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        folder = name.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist():
            order = archive.read(f"{folder}byteorder").decode()
            if order != "little":
                raise InputError(f"its byte order is {order!r}; save it on a usual machine")
        state = _unpickle(io.BytesIO(archive.read(name)))
        keys = {tensor.key for _, tensor in _flat(state)}
        return state, {key: archive.read(f"{folder}data/{key}") for key in keys}


def _read_pickles(stream):
    if _unpickle(stream) != MAGIC:
        raise InputError("it is no file of PyTorch weights")
    _unpickle(stream)  # protocol version
    _unpickle(stream)  # sizes of the types of the machine
    state = _unpickle(stream)
    sizes = {tensor.key: tensor.dtype.itemsize for _, tensor in _flat(state)}
    storages = {}
    for key in _unpickle(stream):
        number = int.from_bytes(stream.read(8), "little")
        if key not in sizes:
            raise InputError(f"it has a storage {key!r} that no tensor uses")
        storages[key] = stream.read(number * sizes[key])
    return state, storages


def _unpickle(stream):
    """Loads one pickle with functions made for it alone, so that none can be altered."""

    def rebuild(storage, offset, shape, strides, *_):
        key, dtype = storage
        return _Tensor(key, dtype, int(offset), tuple(shape), tuple(strides))

    class State(collections.OrderedDict):
        """A state dict; BUILD may give it the attribute `_metadata`."""

    known = {
        ("collections", "OrderedDict"): State,
        ("torch._utils", "_rebuild_tensor_v2"): rebuild,
        ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    } | {("torch", name): dtype for name, dtype in STORAGES.items()}

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) not in known:
                raise InputError(
                    f"it asks for {module}.{name}, and only tensors are loaded; nothing was "
                    "run. Ask for a safetensors file"
                )
            return known[module, name]

        def persistent_load(self, saved):
            kind, dtype, key, *_ = saved
            if kind != "storage" or not isinstance(dtype, np.dtype):
                raise InputError(f"it holds a {kind!r}, and only tensors are loaded")
            return str(key), dtype

    return Unpickler(stream, encoding="utf-8").load()


def _flat(state):
    """(name, tensor) of a state dict, also where it is the entry `state_dict` of a dict."""
    if not isinstance(state, dict):
        raise InputError("it holds no state dict")
    state = state.get("state_dict", state)
    return [(name, entry) for name, entry in state.items() if isinstance(entry, _Tensor)]


def _view(tensor, storages):
    storage = np.frombuffer(storages[tensor.key], tensor.dtype)
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((size - 1) * step for size, step in steps)
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, tensor.dtype)
    if min(tensor.offset, *tensor.strides, *tensor.shape, 0) < 0 or last >= len(storage):
        raise InputError(
            f"it is cut short or damaged: a tensor of shape {list(tensor.shape)} lies outside "
            f"its storage of {len(storage)} numbers"
        )
    return np.lib.stride_tricks.as_strided(
        storage[tensor.offset :],
        tensor.shape,
        [step * tensor.dtype.itemsize for step in tensor.strides],
        writeable=False,
    )
