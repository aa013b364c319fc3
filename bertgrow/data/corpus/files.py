"""Opens plain and compressed files, and reports damaged ones as an `InputError`."""

import contextlib
import gzip
import io
import lzma
import shutil
import tempfile
import zlib

import zstandard

from bertgrow.core.errors import InputError

COMPRESSIONS = (".gz", ".xz", ".zst")
DAMAGE = (EOFError, OSError, lzma.LZMAError, zlib.error, zstandard.ZstdError)


def compression(path):
    """Returns the compression suffix of a path: `.gz`, `.xz`, `.zst` or ""."""
    return path.suffix if path.suffix in COMPRESSIONS else ""


def open_bytes(path):
    """Opens a file as a stream of bytes; its last suffix selects the decompression."""
    match compression(path):
        case ".gz":
            return gzip.open(path, "rb")
        case ".xz":
            return lzma.open(path, "rb")
        case ".zst":
            return _open_zst(path)
    return open(path, "rb")


def open_seekable(path):
    """As `open_bytes`, but seekable: compressed files are unpacked to a temporary file."""
    if not compression(path):
        return open(path, "rb")
    copy = tempfile.TemporaryFile()  # noqa: SIM115
    with open_bytes(path) as stream:
        shutil.copyfileobj(stream, copy)
    copy.seek(0)
    return copy


@contextlib.contextmanager
def damage_as_input_error(path):
    """Turns the exceptions of a damaged or unreadable file into an `InputError`."""
    try:
        yield
    except DAMAGE as error:
        raise InputError(
            f"{path} cannot be read to its end: {error}; copy or download it again"
        ) from error


def _open_zst(path):
    # A .zst file may have several frames; by default only the first frame is read.
    stream = zstandard.ZstdDecompressor().stream_reader(
        path.open("rb"), read_across_frames=True, closefd=True
    )
    return io.BufferedReader(stream, 2**20)
