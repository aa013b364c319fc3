"""Opens plain and compressed files, and reports damaged ones as an `InputError`."""

import contextlib
import io
import lzma
import shutil
import tempfile
import zlib

import zstandard

from bertgrow.core import system_files
from bertgrow.core.errors import InputError

# A compressed file is a sequence of members, or frames. A decompressor reads one of them.
DECOMPRESSORS = {
    ".gz": lambda: zlib.decompressobj(wbits=31),  # 31: with the header and checksum of gzip
    ".xz": lzma.LZMADecompressor,
    ".zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
}
PADDING = {".gz": b"\0", ".xz": b"\0", ".zst": b""}  # bytes that may follow a member
BLOCK = 2**14  # compressed bytes per call: bounds memory, as zstd may expand them 30,000 times
DAMAGE = (EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError)


def compression(path):
    """Returns the compression suffix of a path: `.gz`, `.xz`, `.zst` or ""."""
    return path.suffix if path.suffix in DECOMPRESSORS else ""


def open_bytes(path):
    """Opens a file as a stream of bytes; its last suffix selects the decompression.

    The file must end where a member ends: a missing end or other bytes behind it are errors.
    """
    if not compression(path):
        return open(path, "rb")
    return io.BufferedReader(_Unpacked(_unpack(path)), 2**20)


def open_seekable(path):
    """As `open_bytes`, but seekable: compressed files are unpacked to a temporary file."""
    if not compression(path):
        return open(path, "rb")
    with system_files.named(tempfile.gettempdir()):
        copy = tempfile.TemporaryFile()  # noqa: SIM115
        with open_bytes(path) as stream:
            shutil.copyfileobj(stream, copy)
        copy.seek(0)
    return copy


@contextlib.contextmanager
def damage_as_input_error(path):
    """Turns the exceptions of a damaged file into an `InputError`."""
    try:
        with system_files.named(path):
            yield
    except DAMAGE as error:
        raise InputError(
            f"{path} cannot be read to its end: {error}; copy or download it again"
        ) from error


def _unpack(path):
    """Yields the decompressed bytes of a file."""
    with system_files.named(path), open(path, "rb") as file:
        member, data = None, b""
        while data or (data := file.read(BLOCK)):
            if member is None:
                data = data.lstrip(PADDING[path.suffix])
                if not data:
                    continue
                member = DECOMPRESSORS[path.suffix]()
            yield member.decompress(data)
            data = member.unused_data if member.eof else b""
            member = None if member.eof else member
    if member is not None:
        raise EOFError("its end is missing")


class _Unpacked(io.RawIOBase):
    """Readable stream of an iterator of bytes."""

    def __init__(self, blocks):
        self._blocks, self._rest = blocks, b""

    def readable(self):
        return True

    def readinto(self, buffer):
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def close(self):
        self._blocks.close()
        super().close()
