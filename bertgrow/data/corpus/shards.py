"""Merges parts into shards sorted by document hash, the second half of `bertgrow prepare`.

A shard is an ArrayRecord file with one document per record: the number of its sentences and
their lengths (uint32), then its token ids. The place of a document depends only on its hash
and on the size of the corpus. The order of the inputs and the number of workers therefore do
not change the files.
"""

from typing import NamedTuple

import numpy as np

from bertgrow.core import system_files
from bertgrow.core.errors import InputError
from bertgrow.data.corpus import parts

SHARD_TOKENS = 2**23
SPLITS = ("train", "held_out")
MIN_DOCUMENTS = 2  # in each split: a random second segment needs another document
MIN_TOKENS = 64 * 64  # in each split: the smoke recipes evaluate 64 sequences of 64 tokens


class Place(NamedTuple):
    """Location of the documents of one shard, in the order of the shard."""

    part: np.ndarray  # int32 [documents], number of the part
    document: np.ndarray  # int32 [documents], index inside the part


class Plan(NamedTuple):
    """The shards to write, and counts for the summary."""

    shards: dict  # {split: [Place]}
    duplicates: int  # documents removed because an equal one is kept
    counts: parts.Counts
    added: int  # documents held out beyond the fraction, to reach the minimum of the split


def plan(paths, *, held_out):
    """Assigns every document to a split, a shard and a place, from the digests of all parts.

    Args:
      paths: folders of the parts, in the order of the text.
      held_out: fraction of the documents to hold out, between 0 and 1. More are held out if
        it gives fewer than `MIN_DOCUMENTS` documents or `MIN_TOKENS` tokens.

    Raises:
      InputError: the text is too small for two splits of the minimum size.
    """
    digests, tokens, part, document, counts = _table(paths)
    order = np.lexsort((digests["side"], digests["place"]))  # of equals, keep the first
    same = digests[order][1:] == digests[order][:-1]
    order = order[np.concatenate([[True], ~same])] if len(order) else order
    digests, tokens = digests[order], tokens[order]
    is_held_out, added = choose_held_out(digests["side"], tokens, held_out)
    shards = {}
    for split, chosen in zip(SPLITS, (~is_held_out, is_held_out), strict=True):
        number = max(1, -(-int(tokens[chosen].sum()) // SHARD_TOKENS))
        shard = (digests["place"][chosen] >> np.uint64(32)) * np.uint64(number) >> np.uint64(32)
        cuts = np.searchsorted(shard, np.arange(number + 1))
        documents = order[chosen]
        shards[split] = [
            Place(part[documents[a:b]], document[documents[a:b]])
            for a, b in zip(cuts[:-1], cuts[1:], strict=True)
        ]
    return Plan(shards, int(same.sum()), parts.Counts(*counts.tolist()), added)


def choose_held_out(side, tokens, fraction):
    """Selects the held-out documents: those with the smallest hashes.

    Args:
      side: uint64 [documents], hashes.
      tokens: int [documents], number of tokens in each.
      fraction: fraction of the documents to hold out.

    Returns:
      bool [documents], and how many documents the minimum adds to the fraction.

    Raises:
      InputError: one of the splits is smaller than the minimum.
    """
    by_hash = np.argsort(side)
    by_fraction = int((side < np.uint64(fraction * (2**64 - 2**11))).sum())
    enough = int(np.searchsorted(np.cumsum(tokens[by_hash]), MIN_TOKENS)) + 1
    number = max(by_fraction, MIN_DOCUMENTS, enough)
    is_held_out = np.zeros(len(side), bool)
    is_held_out[by_hash[:number]] = True
    _check_minimum(is_held_out, tokens)
    return is_held_out, number - by_fraction


def _check_minimum(is_held_out, tokens):
    for split, chosen in zip(SPLITS, (~is_held_out, is_held_out), strict=True):
        documents, size = int(chosen.sum()), int(tokens[chosen].sum())
        if documents < MIN_DOCUMENTS or size < MIN_TOKENS:
            raise InputError(
                f"the text is too small: of its {len(tokens):,} documents and "
                f"{int(tokens.sum()):,} tokens the {split} split gets {documents:,} and "
                f"{size:,}; it needs at least {MIN_DOCUMENTS} and {MIN_TOKENS:,}; give more "
                "text or change --held-out"
            )


def write(place, paths, target, *, size):
    """Writes one shard; returns its entries in the index.

    Returns:
      int64 [documents], number of sentences in each; uint32 [sentences], number of tokens
      in each; int64 [size], count of each token of the vocabulary.
    """
    counts = np.zeros(len(place.part), np.int64)
    lengths, tokens = [None] * len(counts), [None] * len(counts)
    for number in np.unique(place.part):
        part = parts.read(paths[number])
        first = _offsets(part.sentences)
        start = _offsets(part.lengths)
        for row in np.flatnonzero(place.part == number):
            a, b = first[place.document[row] : place.document[row] + 2]
            counts[row] = b - a
            lengths[row], tokens[row] = part.lengths[a:b], part.tokens[start[a] : start[b]]
    _write_records(target, zip(lengths, tokens, strict=True))
    unigrams = np.bincount(np.concatenate([*tokens, np.zeros(0, int)]), minlength=size)
    return counts, np.concatenate([*lengths, np.zeros(0)]).astype("<u4"), unigrams


def _write_records(target, documents):
    from array_record.python import array_record_module

    try:
        writer = array_record_module.ArrayRecordWriter(str(target), "group_size:1")
        for sizes, ids in documents:
            header = np.concatenate([[len(sizes)], sizes]).astype("<u4")
            writer.write(header.tobytes() + ids.tobytes())
        writer.close()
    except RuntimeError as error:  # with the reason of the system in its text
        raise system_files.error_of(str(error), target) from error


def _table(paths):
    """Digest, tokens, part number and index of all documents, and the summed counts."""
    digests, tokens, sizes, counts = (
        [np.zeros(0, parts.DIGEST)],
        [np.zeros(0, int)],
        [],
        [np.zeros(len(parts.Counts._fields), int)],
    )
    for path in paths:
        part = parts.read(path)
        start = _offsets(part.lengths)[_offsets(part.sentences)]
        digests.append(part.digests)
        tokens.append(np.diff(start))
        sizes.append(len(part.digests))
        counts.append(part.counts)
    numbers = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    places = np.concatenate(
        [*(np.arange(n, dtype=np.int32) for n in sizes), np.zeros(0, np.int32)]
    )
    return (
        np.concatenate(digests),
        np.concatenate(tokens),
        numbers,
        places,
        np.sum(counts, axis=0),
    )


def _offsets(sizes):
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
