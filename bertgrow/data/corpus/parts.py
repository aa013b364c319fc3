"""The first half of preparing: a chunk of documents becomes a part of tokens on disk."""

import hashlib
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

DIGEST = np.dtype([("place", "<u8"), ("side", "<u8")])  # 128 bits of a document's hash
ENCODE_AT_ONCE = 512  # sentences; the tokenizer's own objects are far larger than the ids


class Part(NamedTuple):
    """Documents of one chunk, sorted by hash."""

    digests: np.ndarray  # DIGEST [documents]
    sentences: np.ndarray  # int32 [documents], how many sentences each has
    lengths: np.ndarray  # int32 [all sentences], tokens
    tokens: np.ndarray  # uint16 or uint32 [all tokens]
    counts: np.ndarray  # int64 [2]: words, documents without any token


def digest(text):
    """What decides where a document goes: `place` in the store, `side` of the split."""
    return np.frombuffer(hashlib.blake2b(text.encode(), digest_size=16).digest(), DIGEST)[0]


def sentences(text, language):
    """The sentences of a text whose lines are paragraphs (or sentences already)."""
    import sentencex

    found = (sentencex.segment(language, line) for line in text.split("\n") if line.strip())
    return [s.strip() for line in found for s in line if s.strip()]


def tokenise(texts, tokenizer, language):
    """The part of a chunk of texts."""
    documents = sorted(
        ((digest(text), text) for text in texts if text), key=lambda d: tuple(d[0])
    )
    split = [sentences(text, language) for _, text in documents]
    ids, lengths = _encode([s for document in split for s in document], tokenizer)
    owner = np.repeat(np.arange(len(split)), [len(document) for document in split])
    owner = owner[lengths > 0]  # a sentence of control characters has no token
    counts = np.bincount(owner, minlength=len(split)).astype(np.int32)
    words = sum(len(text.split()) for _, text in documents)
    return Part(
        digests=np.array([d for d, _ in documents], DIGEST)[counts > 0],
        sentences=counts[counts > 0],
        lengths=lengths[lengths > 0],
        tokens=ids.astype(id_type(tokenizer.vocab.size)),
        counts=np.array([words, int((counts == 0).sum())]),
    )


def id_type(size):
    """The smallest of the two types on disk that holds `size` pieces."""
    return np.dtype("<u2" if size <= 2**16 else "<u4")


def write(part, path):
    """Writes a part so that the folder exists only when it is whole."""
    unfinished = path.with_name(path.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name, array in part._asdict().items():
        np.save(unfinished / f"{name}.npy", array)
    unfinished.rename(path)


def read(path):
    """The part in a folder."""
    return Part(**{name: np.load(Path(path) / f"{name}.npy") for name in Part._fields})


def _encode(found, tokenizer):
    ids, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for start in range(0, len(found), ENCODE_AT_ONCE):
        some, sizes = tokenizer.encode_flat(found[start : start + ENCODE_AT_ONCE])
        ids.append(some)
        lengths.append(sizes)
    return np.concatenate(ids), np.concatenate(lengths)
