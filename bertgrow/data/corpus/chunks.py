"""Chunks of raw documents, what the workers make of them, and which documents are sampled."""

import functools
import hashlib
import heapq
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import parts, vocabulary

CHARACTERS = 2**21  # of raw text in a chunk


class Chunk(NamedTuple):
    """A task for a worker: raw documents and how to read them."""

    read: Callable
    raws: list
    language: str


class Recipe(NamedTuple):
    """The rest of the task where tokens are wanted: by which vocabulary, and where to."""

    chunk: Chunk
    vocab: Path
    cased: bool
    target: Path


def grouped(source, bad, language):
    """Yields the chunks of a source, in order."""
    raws, total = [], 0
    for raw in source.raw(bad):
        raws.append(raw)
        total += source.weight(raw)
        if total >= CHARACTERS:
            yield Chunk(source.read, raws, language)
            raws, total = [], 0
    if raws:
        yield Chunk(source.read, raws, language)


def sample(sources, bad, language, *, characters):
    """Chunks of the documents with the smallest hashes: the same ones in any order.

    Holds `characters` of text, not more, however long the sources are.
    """
    heap, total = [], 0  # the largest hash comes first, to be pushed out first
    for number, source in enumerate(sources):
        for raw in source.raw(bad):
            key = int.from_bytes(hashlib.blake2b(raw.encode(), digest_size=8).digest())
            if total >= characters and key >= -heap[0][0]:
                continue
            heapq.heappush(heap, (-key, number, raw))
            total += source.weight(raw)
            while total - (last := sources[heap[0][1]].weight(heap[0][2])) >= characters:
                heapq.heappop(heap)
                total -= last
    for _, number, raw in sorted(heap, reverse=True):
        yield Chunk(sources[number].read, [raw], language)


def sentences(chunk):
    """All sentences of a chunk; runs in a worker."""
    texts = [chunk.read(raw) for raw in chunk.raws]
    return [s for text in texts for s in parts.sentences(text, chunk.language)]


def make_part(recipe):
    """Writes the part of a chunk, returns how many characters it read; runs in a worker."""
    texts = [recipe.chunk.read(raw) for raw in recipe.chunk.raws]
    part = parts.tokenise(texts, _tokenizer(recipe.vocab, recipe.cased), recipe.chunk.language)
    parts.write(part, recipe.target)
    return sum(map(len, texts))


def bad_bytes(policy):
    """What to call at bytes that are not UTF-8, and the list of messages that it fills."""
    skipped = []

    def bad(message):
        if policy == "stop":
            raise InputError(f"{message}; repair it, or leave such out: --on-bad-bytes skip")
        skipped.append(message)

    return bad, skipped


@functools.lru_cache(maxsize=1)
def _tokenizer(path, cased):
    return vocabulary.load(path, cased=cased)
