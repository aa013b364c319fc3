"""Reads and writes the sorted table of LevelDB, which indexes a TensorFlow checkpoint.

A table has blocks of key-value pairs, an index block with the places of those, and a footer.
A key omits what it shares with the one before it.
"""

from bertgrow.core.errors import InputError
from bertgrow.interop import crc32c
from bertgrow.interop.protobuf import packed, varint

MAGIC = 0xDB4775248B80FB57
FOOTER = 48  # bytes
TRAILER = 5  # bytes after a block: its compression and its CRC
RESTART = 16  # pairs after which a key is written in full


def read(content):
    """Returns {key: value}, both bytes, of the bytes of a table."""
    if len(content) < FOOTER or int.from_bytes(content[-8:], "little") != MAGIC:
        raise InputError("it is cut short or no index of a TensorFlow checkpoint")
    footer, place = content[-FOOTER:], 0
    for _ in range(2):  # of the meta block, which is not used
        _, place = varint(footer, place)
    pairs = {}
    for handle in _pairs(_block(content, footer[place:])).values():
        pairs |= _pairs(_block(content, handle))
    return pairs


def _block(content, handle):
    """The bytes of a block, checked."""
    offset, place = varint(handle, 0)
    size, _ = varint(handle, place)
    block = content[offset : offset + size + TRAILER]
    if len(block) < size + TRAILER:
        raise InputError("its index is cut short; copy the files again")
    if block[size]:
        raise InputError(
            "its index is compressed; save the checkpoint again with TensorFlow 1.2+"
        )
    if crc32c.masked(block[: size + 1]) != int.from_bytes(block[size + 1 :], "little"):
        raise InputError("its index is damaged (CRC differs); copy the files again")
    return block[:size]


def _pairs(block):
    restarts = int.from_bytes(block[-4:], "little")
    end, place, key, pairs = len(block) - 4 * (restarts + 1), 0, b"", {}
    while place < end:
        shared, place = varint(block, place)
        own, place = varint(block, place)
        size, place = varint(block, place)
        key = key[:shared] + block[place : place + own]
        place += own
        pairs[key] = block[place : place + size]
        place += size
    return pairs


def write(pairs):
    """Returns the bytes of a table of {key: value}, one block."""
    block, keys = bytearray(), sorted(pairs)
    blocks = [_pack([(key, pairs[key]) for key in keys]), _pack([])]  # the last: no meta data
    handles = []
    for content in blocks:
        handles.append(_append(block, content))
    index = _append(block, _pack([(keys[-1], handles[0])]))
    footer = handles[1] + index
    return bytes(block) + footer + bytes(FOOTER - 8 - len(footer)) + MAGIC.to_bytes(8, "little")


def _append(table, block):
    """Appends a block; returns its handle."""
    handle = packed(len(table)) + packed(len(block))
    block += b"\0"  # no compression
    table += block + crc32c.masked(block).to_bytes(4, "little")
    return handle


def _pack(pairs):
    block, restarts, before = b"", [0], b""
    parts = []
    place = 0
    for number, (key, value) in enumerate(pairs):
        shared = 0
        if number % RESTART:
            shared = next(
                (at for at, (a, b) in enumerate(zip(before, key, strict=False)) if a != b),
                min(len(before), len(key)),
            )
        elif number:
            restarts.append(place)
        head = packed(shared) + packed(len(key) - shared) + packed(len(value))
        parts.append(head + key[shared:] + value)
        place, before = place + len(parts[-1]), key
    tail = [*restarts, len(restarts)]
    return block.join([*parts, *(number.to_bytes(4, "little") for number in tail)])
