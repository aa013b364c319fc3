"""CRC-32C of bytes with NumPy, as TensorFlow's checkpoints store it."""

import functools

import numpy as np

POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected
LANES = 4096  # equal parts of long data that are processed at the same time


def masked(data):
    """The CRC in TensorFlow's form: rotated, plus a constant, so that it may be nested."""
    crc = compute(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def compute(data):
    """CRC-32C of bytes or of a uint8 array."""
    data = np.frombuffer(data, np.uint8)
    length = len(data) // LANES
    if not length:
        return _sequential(0, data)
    lanes = _lanes(data[: length * LANES].reshape(LANES, length))
    return _sequential(_together(lanes, length), data[length * LANES :])


@functools.cache
def _table():
    """uint32 [256], the CRC of each byte."""
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, crc >> 1 ^ np.uint32(POLYNOMIAL), crc >> 1)
    return crc


def _sequential(crc, data):
    """Continues a CRC over short data."""
    table = _table().tolist()
    crc ^= 0xFFFFFFFF
    for byte in data.tolist():
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _lanes(rows):
    """CRCs of the rows of a uint8 matrix, uint32 [rows]."""
    table, crc = _table(), np.full(len(rows), 0xFFFFFFFF, np.uint32)
    for start in range(0, rows.shape[1], 1024):  # columns are contiguous in this copy
        for column in np.ascontiguousarray(rows[:, start : start + 1024].T):
            crc = table[(crc ^ column) & 0xFF] ^ crc >> 8
    return crc ^ np.uint32(0xFFFFFFFF)


def _together(crcs, length):
    """CRC of the concatenation of equally long parts, whose number is a power of two."""
    while len(crcs) > 1:
        left, right = crcs[::2], crcs[1::2]
        crcs = _apply(_zeros(length), left) ^ right
        length *= 2
    return int(crcs[0])


@functools.cache
def _zeros(length):
    """Matrix over GF(2), uint32 [32 columns]: what `length` zero bytes make of a CRC."""
    one_bit = np.array([POLYNOMIAL, *(1 << bit for bit in range(31))], np.uint32)
    matrix, power = (np.uint32(1) << np.arange(32, dtype=np.uint32)), one_bit
    bits = 8 * length
    while bits:
        if bits & 1:
            matrix = _apply(power, matrix)
        power = _apply(power, power)
        bits >>= 1
    return matrix


def _apply(matrix, vectors):
    """Multiplies a matrix, uint32 [32 columns], with vectors, uint32 [n]."""
    products = np.zeros_like(vectors)
    for bit in range(32):
        products ^= np.where(vectors >> np.uint32(bit) & 1, matrix[bit], np.uint32(0))
    return products
