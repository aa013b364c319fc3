"""Files that `bertgrow prepare` must refuse or warn about, each with words of its message."""

import gzip
import json
import lzma
import pickle
import struct

import pyarrow
import zstandard
from made_text import make_text
from pyarrow import parquet

TEXT = make_text(60).encode()
PACK = {".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}
SKIPPABLE = struct.pack("<II", 0x184D2A50, 4) + b"skip"  # a frame of zstd without text
NOT_WHOLE = "cannot be read to its end"
NOT_JSON = "is not a JSON object"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def table(values, **options):
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table({"text": values}), sink, **options)
    return sink.getvalue().to_pybytes()


def flipped(content, place):
    place %= len(content)
    return content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]


def lines(*objects):
    return b"".join(json.dumps(each).encode() + b"\n" for each in objects)


def archives():
    """(name, content, message); None for a message: the file is read."""
    for suffix, pack in PACK.items():
        name, first, second = f"{{}}.txt{suffix}", pack(TEXT[:9000]), pack(TEXT[9000:])
        yield name.format("two-members"), first + second, None
        yield name.format("not-packed"), TEXT, NOT_WHOLE
        yield name.format("header"), first[:5], NOT_WHOLE
        for cut in (1, 4, len(first) // 2, len(first) - 1):
            yield name.format(f"cut-{cut}"), first[:-cut], NOT_WHOLE
            yield name.format(f"second-cut-{cut}"), second + first[:-cut], NOT_WHOLE
        yield name.format("garbage"), first + b"garbage", NOT_WHOLE
        yield name.format("garbage-after-two"), first + second + b"?" * 99, NOT_WHOLE
        padding = None if suffix != ".zst" else NOT_WHOLE  # as the tools of each format do
        yield name.format("zeros"), first + second + bytes(512), padding
    yield "skippable.txt.zst", SKIPPABLE + PACK[".zst"](TEXT) + SKIPPABLE, None
    for suffix in (".gz", ".xz"):  # a .zst has no checksum by default
        packed = PACK[suffix](TEXT)
        yield f"flipped.txt{suffix}", flipped(packed, len(packed) // 2), NOT_WHOLE
    yield "cut.jsonl.zst", PACK[".zst"](lines({"text": "One."}))[:-1], NOT_WHOLE
    yield "cut.parquet.gz", PACK[".gz"](table(["One."]))[:-4], NOT_WHOLE
    yield "empty.txt.gz", b"", "is empty"
    yield "nothing.txt.gz", gzip.compress(b""), "no usable text"


def texts():
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        yield f"{encoding}.txt", TEXT.decode().encode(encoding), "looks like UTF-16"
        yield f"{encoding}.jsonl", '{"text": "One."}\n'.encode(encoding), "looks like UTF-16"
    yield "latin-1.txt", "caf\u00e9 au lait".encode("latin-1"), ":1: .*not UTF-8"
    yield "nul.txt", b"One.\nT\0wo, and more.\n", ":2: a NUL character at byte 1"
    yield "surrogate.txt", "a\ud800b".encode(errors="surrogatepass"), "not UTF-8"
    yield "cut-letter.txt", "na\u00efve \u2014".encode()[:-1], "unexpected end of data"
    yield "long-line.txt", b"word " * 20_000, "a line of more than 65,536 bytes"
    yield "long-line.jsonl", lines({"text": "word " * 20_000}), "more than 65,536 bytes"
    yield "empty.txt", b"", "is empty"
    yield "blank.txt", b" \n\t\n\n", "no usable text"
    yield "mark.txt", b"\xef\xbb\xbf", "no usable text"
    yield "page.html", b"<p>", "expected .txt, .jsonl or .parquet"


def json_lines():
    deep = b"[" * 30_000 + b"]" * 30_000
    yield "deep.jsonl", b'{"text": ' + deep + b"}", NOT_JSON
    yield "deep-field.jsonl", b'{"text": "a", "b": ' + deep + b"}", NOT_JSON
    yield "digits.jsonl", b'{"text": "a", "number": ' + b"1" * 6000 + b"}", NOT_JSON
    yield "surrogate.jsonl", b'{"text": "a\\ud800b"}', "not UTF-8"
    yield "nul.jsonl", b'{"text": "a word\\u0000b"}', "a NUL character at byte 6"
    yield "cut.jsonl", lines({"text": "One."})[:-4], NOT_JSON
    yield "array.jsonl", lines(["text"]), NOT_JSON
    yield "string.jsonl", lines("text"), NOT_JSON
    yield "null.jsonl", lines(None), NOT_JSON
    yield "number.jsonl", lines(3), NOT_JSON
    yield "pretty.jsonl", b'{\n"text": "One."\n}\n', NOT_JSON
    yield "no-text.jsonl", lines({"body": "One."}), "no string in its field 'text'"
    yield "text-null.jsonl", lines({"text": None}), "no string"
    yield "text-list.jsonl", lines({"text": ["One."]}), "no string"
    yield "empty-text.jsonl", lines({"text": ""}, {"text": " "}), "no usable text"
    yield "second.jsonl", lines({"text": "One."}, {"text": 2}), "second.jsonl:2 has no string"
    yield "not-a-number.jsonl", lines({"text": "One.", "score": float("nan")}), None


def tables():
    whole = table(["One."] * 500, compression="none")
    checked = table(["One."] * 500, compression="none", write_page_checksum=True)
    yield "integers.parquet", table([1, 2]), "has type int64, expected string"
    yield "lists.parquet", table([["a"], ["b"]]), "has type list"
    yield "objects.parquet", table([{"a": "b"}]), "has type struct"
    yield "floats.parquet", table([1.5]), "has type double"
    yield "nulls.parquet", table([None, None]), "no usable text"
    yield "no-rows.parquet", table(pyarrow.array([], pyarrow.string())), "no usable text"
    yield "latin-1.parquet", table([b"One.", b"caf\xe9"]), ":2: .*not UTF-8"
    yield "nul.parquet", table(["One.", "T\0wo, and more."]), ":2: a NUL character"
    yield "text.parquet", TEXT, "is not a Parquet file"
    yield "cut.parquet", whole[:-1], "is not a Parquet file"
    yield "half.parquet", whole[: len(whole) // 2], "is not a Parquet file"
    yield "footer.parquet", flipped(whole, -9), "is not a Parquet file"
    yield "page.parquet", flipped(checked, checked.index(b"One.")), "is not a Parquet file"
    yield "large.parquet", table(pyarrow.array(["One."], pyarrow.large_string())), None
    yield "bytes.parquet", table([b"One."]), None
    yield "category.parquet", table(pyarrow.array(["One."]).dictionary_encode()), None


def vocabularies():
    yield "empty.txt", b"", "is empty"
    yield "empty.model", b"", "is empty"
    yield "garbage.model", b"garbage" * 99, "not a SentencePiece model"
    yield "pickle.model", pickle.dumps(print), "not a SentencePiece model"
    yield "text.model", TEXT, "not a SentencePiece model"
    yield "utf-16.txt", "\n".join(SPECIAL).encode("utf-16"), "not UTF-8"
    yield "eight.txt", "\n".join([*SPECIAL, *"abc"]).encode(), "8 tokens, expected at least 64"
    yield "twice.txt", b"a\nb\na\n", "'a' twice"
    names = [f"word{number}" for number in range(99)]
    yield "no-mask.txt", "\n".join([*SPECIAL[:4], *names]).encode(), r"has no \[MASK\];"
    yield "no-special.txt", "\n".join(names).encode(), r"has no \[PAD\] \[UNK\]"
