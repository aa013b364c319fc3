"""Tokenises chunks of documents into parts on disk, the first half of `bertgrow prepare`."""

import hashlib
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

DIGEST = np.dtype([("place", "<u8"), ("side", "<u8")])  # 128 bits of a document's hash
ENCODE_AT_ONCE = 512  # sentences; the tokenizer's result objects are far larger than the ids


class Part(NamedTuple):
    """The tokenised documents of one chunk, sorted by hash."""

    digests: np.ndarray  # DIGEST [documents]
    sentences: np.ndarray  # int32 [documents], number of sentences in each
    lengths: np.ndarray  # int32 [all sentences], number of tokens in each
    tokens: np.ndarray  # uint16 or uint32 [all tokens]
    counts: np.ndarray  # int64 [2]: words, documents without tokens


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
    words = sum(len(text.split()) for _, text in documents)
    return Part(
        digests=np.array([d for d, _ in documents], DIGEST)[counts > 0],
        sentences=counts[counts > 0],
        lengths=lengths[lengths > 0],
        tokens=ids.astype(id_type(tokenizer.vocab.size)),
        counts=np.array([words, int((counts == 0).sum())]),
    )


def id_type(size):
    """Returns the on-disk type of token ids: uint16 if `size` tokens fit, else uint32."""
    return np.dtype("<u2" if size <= 2**16 else "<u4")


def write(part, path):
    """Writes a part atomically: the folder exists only once the part is complete."""
    unfinished = path.with_name(path.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name, array in part._asdict().items():
        np.save(unfinished / f"{name}.npy", array)
    unfinished.rename(path)


def read(path):
    """Reads the part in a folder."""
    return Part(**{name: np.load(Path(path) / f"{name}.npy") for name in Part._fields})


def _encode(sentences, tokenizer):
    ids, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for start in range(0, len(sentences), ENCODE_AT_ONCE):
        batch, sizes = tokenizer.encode_flat(sentences[start : start + ENCODE_AT_ONCE])
        ids.append(batch)
        lengths.append(sizes)
    return np.concatenate(ids), np.concatenate(lengths)
