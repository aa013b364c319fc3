"""Reads and writes TensorFlow checkpoints (V2, "tensor bundles") without TensorFlow.

`PREFIX.index` is a sorted table of a message for each tensor; `PREFIX.data-00000-of-00001` has
their bytes. The messages are `BundleHeaderProto` and `BundleEntryProto` of
tensorflow/core/protobuf/tensor_bundle.proto.
"""

from pathlib import Path

import ml_dtypes
import numpy as np

from bertgrow.core.errors import InputError
from bertgrow.interop import crc32c, sstable
from bertgrow.interop.protobuf import fields, message, packed, signed

DTYPES = {  # of tensorflow/core/framework/types.proto
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    9: np.dtype("<i8"),
    14: np.dtype(ml_dtypes.bfloat16),
    19: np.dtype("<f2"),
}
FLOAT = 1
HEADER = b"\x08\x01\x1a\x02\x08\x01"  # one shard, version 1


def read(prefix):
    """Returns {name: array}; InputError if the checkpoint is damaged or not readable."""
    index = Path(f"{prefix}.index")
    try:
        entries = sstable.read(index.read_bytes())
        shards = fields(entries.pop(b"")).get(1, [1])[0]
        files = [
            np.memmap(f"{prefix}.data-{number:05}-of-{shards:05}", np.uint8, mode="r")
            for number in range(shards)
        ]
        return {name.decode(): _tensor(name, entry, files) for name, entry in entries.items()}
    except InputError as error:
        raise InputError(f"{index}: {error}") from error
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{prefix} is no TensorFlow checkpoint: {error}") from error


def _tensor(name, entry, files):
    known = fields(entry)
    number = known[1][0]
    if number not in DTYPES or 7 in known:
        raise InputError(f"the tensor {name.decode()} has a dtype or slices that are not read")
    sizes = fields(known.get(2, [b""])[0]).get(2, [])
    shape = [signed(fields(size).get(1, [0])[0]) for size in sizes]
    offset, size = (known.get(field, [0])[0] for field in (4, 5))
    data = files[known.get(3, [0])[0]][offset : offset + size]
    if len(data) < size:
        raise InputError(
            f"the data are cut short at the tensor {name.decode()}; copy them again"
        )
    if 6 in known and crc32c.masked(data) != known[6][0]:
        raise InputError(f"the tensor {name.decode()} is damaged (CRC differs); copy it again")
    return data.view(DTYPES[number]).reshape(shape)


def write(prefix, tensors):
    """Writes the checkpoint of {name: float32 array}."""
    pairs, place = {b"": HEADER}, 0
    with open(f"{prefix}.data-00000-of-00001", "wb") as stream:
        for name in sorted(tensors):
            data = np.asarray(tensors[name], DTYPES[FLOAT], order="C")
            stream.write(data.tobytes())
            pairs[name.encode()] = _entry(data, place)
            place += data.nbytes
    Path(f"{prefix}.index").write_bytes(sstable.write(pairs))


def _entry(data, place):
    shape = b"".join(message(2, b"\x08" + packed(size)) for size in data.shape)
    crc = crc32c.masked(data.reshape(-1).view(np.uint8)).to_bytes(4, "little")
    offset = b"\x20" + packed(place) if place else b""
    size = b"\x28" + packed(data.nbytes)
    return b"\x08" + packed(FLOAT) + message(2, shape) + offset + size + b"\x35" + crc
