"""Tokenises chunks of documents into parts on disk, the first half of `bertgrow prepare`."""

import hashlib
import zipfile
from typing import NamedTuple

import numpy as np

from bertgrow.core.errors import InputError

DIGEST = np.dtype([("place", "<u8"), ("side", "<u8")])  # 128 bits of a document's hash
LONG_LINE = 2**16  # characters; a longer line is no sentence or paragraph
ENCODE_AT_ONCE = 512  # sentences; the tokenizer's result objects are far larger than the ids


class Counts(NamedTuple):
    """Sums over documents; an int64 [4] in a part."""

    words: int
    empty: int  # documents without tokens
    characters: int
    in_long_lines: int  # characters in lines of more than `LONG_LINE`


class Part(NamedTuple):
    """The tokenised documents of one chunk, sorted by hash."""

    digests: np.ndarray  # DIGEST [documents]
    sentences: np.ndarray  # int32 [documents], number of sentences in each
    lengths: np.ndarray  # int32 [all sentences], number of tokens in each
    tokens: np.ndarray  # uint16 or uint32 [all tokens]
    counts: np.ndarray  # int64 [4], `Counts`


def digest(text):
    """Hashes a document: `place` sets its place in the store, `side` sets its split."""
    return np.frombuffer(hashlib.blake2b(text.encode(), digest_size=16).digest(), DIGEST)[0]


def sentences(text, language):
    """Splits a text into sentences; each line of it is a paragraph or a sentence."""
    import sentencex

    lines = (sentencex.segment(language, line) for line in text.split("\n") if line.strip())
    return [s.strip() for sentences in lines for s in sentences if s.strip()]


def tokenise(texts, tokenizer, language):
    """Tokenises the texts of a chunk; returns a `Part`."""
    documents = sorted(
        ((digest(text), text) for text in texts if text), key=lambda d: tuple(d[0])
    )
    split = [sentences(text, language) for _, text in documents]
    ids, lengths = _encode([s for document in split for s in document], tokenizer)
    owner = np.repeat(np.arange(len(split)), [len(document) for document in split])
    owner = owner[lengths > 0]  # a sentence of control characters has no token
    counts = np.bincount(owner, minlength=len(split)).astype(np.int32)
    lines = [len(line) for _, text in documents for line in text.split("\n")]
    total = Counts(
        words=sum(len(text.split()) for _, text in documents),
        empty=int((counts == 0).sum()),
        characters=sum(lines),
        in_long_lines=sum(size for size in lines if size > LONG_LINE),
    )
    return Part(
        digests=np.array([d for d, _ in documents], DIGEST)[counts > 0],
        sentences=counts[counts > 0],
        lengths=lengths[lengths > 0],
        tokens=ids.astype(id_type(tokenizer.vocab.size)),
        counts=np.array(total),
    )


def id_type(size):
    """Returns the on-disk type of token ids: uint16 if `size` tokens fit, else uint32."""
    return np.dtype("<u2" if size <= 2**16 else "<u4")


def write(part, path):
    """Writes a part atomically: the file exists only once the part is complete."""
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    with open(unfinished, "wb") as file:
        np.savez(file, **part._asdict())  # a zip archive: it has checksums
    unfinished.rename(path)


def read(path):
    """Reads a part; InputError if it is damaged."""
    try:
        with np.load(path) as arrays:
            return Part(**arrays)
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is damaged: {error}; remove it and run the same command again"
        ) from None


def _encode(sentences, tokenizer):
    ids, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for start in range(0, len(sentences), ENCODE_AT_ONCE):
        batch, sizes = tokenizer.encode_flat(sentences[start : start + ENCODE_AT_ONCE])
        ids.append(batch)
        lengths.append(sizes)
    return np.concatenate(ids), np.concatenate(lengths)
