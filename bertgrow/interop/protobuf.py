"""The little of protocol buffers that checkpoints and SentencePiece models need."""

from bertgrow.core.errors import InputError


def fields(message):
    """{number: [values]} of a message: numbers, or bytes of texts and inner messages."""
    place, fields = 0, {}
    while place < len(message):
        tag, place = varint(message, place)
        kind = tag & 7
        if kind == 0:
            value, place = varint(message, place)
        elif kind == 2:
            size, place = varint(message, place)
            value, place = message[place : place + size], place + size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, place = int.from_bytes(message[place : place + size], "little"), place + size
        else:
            raise InputError(f"it has a field of unknown kind {kind}; it is damaged")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def message(number, content):
    """A field whose value is bytes or an inner message."""
    return packed(number << 3 | 2) + packed(len(content)) + content


def varint(content, place):
    """Decodes a number; returns it and the place after it."""
    number = shift = 0
    while True:
        if place >= len(content):
            raise InputError("it is cut short; copy the files again")
        byte = content[place]
        number, place, shift = number | (byte & 0x7F) << shift, place + 1, shift + 7
        if byte < 0x80:
            return number, place


def packed(number):
    """Encodes a number of at least 0."""
    encoded = b""
    while number >= 0x80:
        encoded, number = encoded + bytes([number & 0x7F | 0x80]), number >> 7
    return encoded + bytes([number])


def signed(number):
    """An int64 of a decoded number."""
    return number - (1 << 64) if number >> 63 else number
