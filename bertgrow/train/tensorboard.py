"""Writes scalars to a TensorBoard event file, without the packages that usually do.

The file is a TFRecord file of `tensorflow.Event` messages (tensorflow/core/util/event.proto).
`tensorboardX` imports torch where it finds it, which takes as long as JAX, and writes in a
thread of its own: when a disk is full, that thread ends without notice.
"""

import os
import socket
import struct
import time

import numpy as np

from bertgrow.core import crc32c, protobuf, system_files

WALL_TIME, STEP, FILE_VERSION, SUMMARY = 1 << 3 | 1, 2 << 3, 3, 5  # of Event
VALUE = 1  # of Summary
TAG, SIMPLE_VALUE = 1, 2 << 3 | 5  # of Summary.Value


class EventFile:
    """A new event file in a folder. All methods raise OSError with the name of the folder."""

    def __init__(self, folder):
        self._folder = os.fspath(folder)
        os.makedirs(self._folder, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}"
        self._file = open(os.path.join(self._folder, name), "wb")  # noqa: SIM115
        self._write(protobuf.message(FILE_VERSION, b"brain.Event:2"))

    def write(self, step, scalars):
        """Writes the scalars {tag: number} of a step."""
        values = b"".join(protobuf.message(VALUE, _value(*item)) for item in scalars.items())
        number = protobuf.packed(STEP) + protobuf.packed(step)
        self._write(number + protobuf.message(SUMMARY, values))

    def flush(self):
        with system_files.named(self._folder):
            self._file.flush()

    def close(self):
        with system_files.named(self._folder):
            self._file.close()

    def _write(self, content):
        event = protobuf.packed(WALL_TIME) + struct.pack("<d", time.time()) + content
        with system_files.named(self._folder):
            self._file.write(record(event))


def record(data):
    """Returns bytes as a record of a TFRecord file: length and data, each with a checksum."""
    size = struct.pack("<Q", len(data))
    checksums = [struct.pack("<I", crc32c.masked(part)) for part in (size, data)]
    return size + checksums[0] + data + checksums[1]


def _value(tag, number):
    with np.errstate(over="ignore"):  # beyond float32 it is infinite
        number = np.array(number, "<f4").tobytes()
    return protobuf.message(TAG, tag.encode()) + protobuf.packed(SIMPLE_VALUE) + number
