"""Reads and writes safetensors files: a JSON header, then the bytes of the tensors.

The format (https://github.com/huggingface/safetensors) cannot hold code. Reading maps the file
into memory, so that a tensor is read when it is used.
"""

import json
from pathlib import Path

import ml_dtypes
import numpy as np

from bertgrow.core.errors import InputError

DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("bool"),
}
LONGEST_HEADER = 100_000_000  # bytes, the limit of the reference implementation


def read(path):
    """Returns {name: read-only array}; InputError if the file is damaged or cut short."""
    path = Path(path)
    try:
        content = np.memmap(path, np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}") from error
    size = int.from_bytes(content[:8].tobytes(), "little")
    if len(content) < 8 or size > min(len(content) - 8, LONGEST_HEADER):
        raise InputError(
            f"{path} is cut short or no safetensors file: its header is incomplete"
        )
    try:
        header = json.loads(content[8 : 8 + size].tobytes())
        header.pop("__metadata__", None)
        return {
            name: _tensor(path, name, content[8 + size :], **row)
            for name, row in header.items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no safetensors file: bad header ({error})") from error


def _tensor(path, name, content, dtype, shape, data_offsets):
    if dtype not in DTYPES:
        raise InputError(
            f"{path}: {name} has dtype {dtype}; expected one of {', '.join(DTYPES)}"
        )
    begin, end = data_offsets
    if not 0 <= begin <= end or end - begin != DTYPES[dtype].itemsize * int(np.prod(shape)):
        raise InputError(f"{path}: the offsets of {name} do not fit its shape {shape}")
    if end > len(content):
        raise InputError(
            f"{path} is cut short: {name} ends at byte {end} of the data, which has "
            f"{len(content)}; copy the file again"
        )
    return content[begin:end].view(DTYPES[dtype]).reshape(shape)


def write(path, tensors, metadata=None):
    """Writes {name: array}, in the order of the names, with str -> str metadata."""
    codes = {dtype: code for code, dtype in DTYPES.items()}
    header, place = {"__metadata__": metadata} if metadata else {}, 0
    for name in sorted(tensors):
        array = tensors[name]
        end = place + array.nbytes
        header[name] = dict(
            dtype=codes[array.dtype], shape=list(array.shape), data_offsets=[place, end]
        )
        place = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    with open(path, "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            stream.write(np.ascontiguousarray(tensors[name]).tobytes())
