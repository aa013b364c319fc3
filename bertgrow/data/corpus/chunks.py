"""Groups raw documents into chunks, samples them, and defines the worker tasks."""

import functools
import hashlib
import heapq
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import parts, vocabulary

CHARACTERS = 2**21  # of raw text per chunk


class Chunk(NamedTuple):
    """Raw documents of one worker task, and the function that reads them."""

    read: Callable
    raws: list
    language: str


class PartTask(NamedTuple):
    """A tokenisation task: a chunk, the vocabulary file and the output folder."""

    chunk: Chunk
    vocab: Path
    cased: bool
    target: Path


def group(source, bad, language):
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
    """Yields chunks of the documents with the smallest hashes.

    The sample does not depend on the order of the documents. Memory holds about
    `characters` of text, for sources of any length.
    """
    heap, total = [], 0  # largest hash first, so that it is removed first
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
    """Returns all sentences of a chunk; runs in a worker."""
    texts = [chunk.read(raw) for raw in chunk.raws]
    return [s for text in texts for s in parts.sentences(text, chunk.language)]


def make_part(task):
    """Tokenises a chunk and writes its part; returns the characters read. Runs in a worker."""
    texts = [task.chunk.read(raw) for raw in task.chunk.raws]
    part = parts.tokenise(texts, _tokenizer(task.vocab, task.cased), task.chunk.language)
    parts.write(part, task.target)
    return sum(map(len, texts))


def bad_byte_handler(policy):
    """Returns a handler of bytes that are not UTF-8, and the list of messages it fills."""
    skipped = []

    def report(message):
        if policy == "stop":
            raise InputError(
                f"{message}; repair it, or skip such documents with --on-bad-bytes skip"
            )
        skipped.append(message)

    return report, skipped


@functools.lru_cache(maxsize=1)
def _tokenizer(path, cased):
    return vocabulary.load(path, cased=cased)
