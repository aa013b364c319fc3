"""`bertgrow prepare`: text in, vocabulary and token store out."""

import functools
import hashlib
import heapq
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bertgrow.data import (
    building,
    parts,
    progress,
    shards,
    sources,
    store,
    vocabulary,
    vocabulary_training,
)
from bertgrow.data import workers as processes
from bertgrow.errors import InputError

CHUNK = 2**21  # characters of raw text a worker gets at once
SAMPLE_PER_PIECE = 2048  # characters of text to train a vocabulary on, for each piece ...
SAMPLE_LIMIT = 2**24  # ... but no more than this: training needs about 50 bytes a character

EPILOG = """example:
  bertgrow prepare --input 'wiki/*.txt.xz' --vocab vocab.txt --output stores/wiki
  bertgrow prepare --vocab-size 2000 --output stores/docs     # the default text

text: .txt has a paragraph or sentence a line and a blank line between documents;
.jsonl and .parquet have a field "text"; each may end in .gz, .xz or .zst."""


def add_arguments(parser):
    add = parser.add_argument
    add("--input", nargs="+", default=["docs"], metavar="PATH",
        help="files, globs, tfds:NAME[:split] or docs, the documentation of the installed "
        "Python packages (default: docs)")  # fmt: skip
    add("--output", required=True, metavar="FOLDER", help="where the token store goes")
    add("--vocab", metavar="FILE", help="use this vocab.txt or SentencePiece .model")
    add("--vocab-size", type=int, default=8000, metavar="N",
        help="else train one with this many pieces (default: %(default)s)")  # fmt: skip
    add("--vocab-kind", choices=vocabulary_training.KINDS, default="unigram",
        help="by which method (default: %(default)s)")  # fmt: skip
    add("--cased", action="store_true", help="keep upper case and accents")
    add("--held-out", type=float, default=0.01, metavar="SHARE",
        help="share of the documents kept for evaluation (default: %(default)s)")  # fmt: skip
    add("--language", default="en", help="where sentences end (default: %(default)s)")
    add("--on-bad-bytes", choices=("stop", "skip"), default="stop",
        help="a document that is not UTF-8 ends the run, or is left out and counted "
        "(default: %(default)s)")  # fmt: skip
    add("--workers", type=int, metavar="N", help="processes (default: one for every core)")


def main(args):
    prepare(
        args.input,
        args.output,
        vocab=args.vocab,
        vocab_size=args.vocab_size,
        vocab_kind=args.vocab_kind,
        cased=args.cased,
        held_out=args.held_out,
        language=args.language,
        on_bad_bytes=args.on_bad_bytes,
        workers=args.workers,
    )
    return 0


def prepare(
    inputs=("docs",),
    output=None,
    *,
    vocab=None,
    vocab_size=8000,
    vocab_kind="unigram",
    cased=False,
    held_out=0.01,
    language="en",
    on_bad_bytes="stop",
    workers=None,
):
    """Makes the token store in `output`, or finds it there already made; returns it opened.

    The flags of `bertgrow prepare`, with the same meaning. Parts that an interrupted run
    has finished are used again.
    """
    begun = time.monotonic()
    if not 0 < held_out < 1:
        raise InputError(f"--held-out {held_out}: expected a share between 0 and 1")
    output = Path(output)
    given = vocabulary.load(vocab, cased=cased) if vocab else None
    found = sources.find([inputs] if isinstance(inputs, str) else inputs)
    wanted = {"vocab": given.hash} if given else {"size": vocab_size, "kind": vocab_kind}
    options = {**wanted, "cased": cased, "held_out": held_out, "language": language,
               "on_bad_bytes": on_bad_bytes}  # fmt: skip
    made_from = {
        "options": options,
        "sources": [{"name": source.name, "sha256": source.fingerprint} for source in found],
    }
    with building.only_one(output):
        if (output / "store.json").exists():
            return _existing(output, made_from)
        work = building.folder(output, made_from)
        job = _Job(work, found, language, on_bad_bytes, workers or processes.cores())
        with processes.pool(job.workers) as run:
            tokenizer = given or _trained(job, run, vocab_size, vocab_kind, cased)
            paths, skipped, characters = _tokenise(job, run, tokenizer)
            plan = shards.plan(paths, held_out=held_out)
            meta = _write(job, run, plan, paths, tokenizer)
        meta["made_from"] = made_from
        meta["words"] = plan.words
        meta["left_out"] = {
            "duplicates": plan.duplicates, "without_tokens": plan.empty, "bad_bytes": skipped,
        }  # fmt: skip
        building.finish(output, work, meta)
    _summary(output, meta, characters, time.monotonic() - begun)
    return store.Store(output)


class _Job(NamedTuple):
    """What all steps of one run share."""

    work: Path
    sources: list
    language: str
    on_bad_bytes: str
    workers: int


class _Chunk(NamedTuple):
    """Raw documents for one task of a worker."""

    read: Any
    raws: list
    language: str
    vocab: Path | None  # of the tokenizer; None where only sentences are wanted
    cased: bool
    target: Path | None


def _existing(output, made_from):
    found = store.Store(output)
    if found.meta["made_from"] != made_from:
        was, now = found.meta["made_from"]["options"], made_from["options"]
        changed = [key for key in {**was, **now} if was.get(key) != now.get(key)]
        raise InputError(
            f"{output} holds a store of other {' and '.join(sorted(changed)) or 'inputs'}; "
            "give another --output or remove that folder"
        )
    building.clear(output)
    progress.say(f"{output} is already made from these inputs and options")
    return found


def _trained(job, run, size, kind, cased):
    """The trained vocabulary, or the one that an interrupted run has trained."""
    for name in ("vocab.txt", "vocab.model"):
        if (job.work / name).exists():
            return vocabulary.load(job.work / name, cased=cased)
    progress.say(f"training a vocabulary of {size:,} pieces ({kind})")
    sentences = [s for some in run(_sentences, _sample(job, size)) for s in some]
    tokenizer = vocabulary_training.train(sentences, size=size, kind=kind, cased=cased)
    unfinished = job.work / "vocab.tmp"
    unfinished.write_bytes(tokenizer.content)
    unfinished.rename(job.work / tokenizer.file_name)
    return tokenizer


def _sample(job, size):
    """Chunks of the documents with the smallest hashes, so the same ones in any order."""
    room = min(SAMPLE_LIMIT, SAMPLE_PER_PIECE * size)
    bad = _bad(job.on_bad_bytes)[0]
    heap, total = [], 0  # the largest hash first, to be pushed out first
    for number, source in enumerate(job.sources):
        for raw in source.raw(bad):
            key = int.from_bytes(hashlib.blake2b(raw.encode(), digest_size=8).digest())
            if total >= room and key >= -heap[0][0]:
                continue
            heapq.heappush(heap, (-key, number, raw))
            total += source.weight(raw)
            while total - job.sources[heap[0][1]].weight(heap[0][2]) >= room:
                _, last, dropped = heapq.heappop(heap)
                total -= job.sources[last].weight(dropped)
    for _, number, raw in sorted(heap, reverse=True):
        yield _Chunk(job.sources[number].read, [raw], job.language, None, False, None)


def _sentences(chunk):
    texts = [chunk.read(raw) for raw in chunk.raws]
    return [s for text in texts for s in parts.sentences(text, chunk.language)]


def _tokenise(job, run, tokenizer):
    """Makes all parts; returns their paths in order, documents skipped, characters read."""
    vocab = job.work / tokenizer.file_name
    if not vocab.exists():
        vocab.write_bytes(tokenizer.content)
    bad, skipped = _bad(job.on_bad_bytes)
    paths = []
    characters = 0

    def chunks():
        nonlocal characters
        for number, source in enumerate(job.sources):
            for count, (raws, weight) in enumerate(_grouped(source, bad)):
                characters += weight
                target = job.work / "parts" / f"{number:04d}-{count:06d}"
                paths.append(target)
                if not target.exists():
                    yield _Chunk(
                        source.read, raws, job.language, vocab, tokenizer.cased, target
                    )

    with progress.shown("tokenising", "MB") as advance:
        for size in run(_make_part, chunks()):
            advance(size / 1e6)
    if skipped:
        progress.say(f"left out {len(skipped)} documents that are not UTF-8, e.g. {skipped[0]}")
    return paths, len(skipped), characters


def _grouped(source, bad):
    """Lists of raw documents of about CHUNK characters, with that number."""
    raws, total = [], 0
    for raw in source.raw(bad):
        raws.append(raw)
        total += source.weight(raw)
        if total >= CHUNK:
            yield raws, total
            raws, total = [], 0
    if raws:
        yield raws, total


def _make_part(chunk):
    texts = [chunk.read(raw) for raw in chunk.raws]
    tokenizer = _tokenizer(chunk.vocab, chunk.cased)
    parts.write(parts.tokenise(texts, tokenizer, chunk.language), chunk.target)
    return sum(map(len, texts))


@functools.lru_cache(maxsize=1)
def _tokenizer(path, cased):
    return vocabulary.load(path, cased=cased)


def _bad(policy):
    """What to call at bytes that are not UTF-8, and the list that it fills."""
    skipped = []

    def bad(message):
        if policy == "stop":
            raise InputError(f"{message}; repair it, or leave such out: --on-bad-bytes skip")
        skipped.append(message)

    return bad, skipped


def _write(job, run, plan, paths, tokenizer):
    """Writes shards, indices and vocabulary into `work/store`; returns the description."""
    built = job.work / "store"
    shutil.rmtree(built, ignore_errors=True)
    built.mkdir()
    (built / tokenizer.file_name).write_bytes(tokenizer.content)
    splits = {}
    for split, places in plan.shards.items():
        if not sum(len(place.part) for place in places):
            raise InputError(
                f"the {split} split has no document; give more documents or change --held-out"
            )
        names = [
            f"{split}-{n:05d}-of-{len(places):05d}.array_record" for n in range(len(places))
        ]
        tasks = [
            _Shard(place, paths, built / name, tokenizer.vocab.size)
            for place, name in zip(places, names, strict=True)
        ]
        counts, lengths, unigrams = zip(*run(_write_shard, tasks), strict=True)
        index = {
            "documents": np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
            "sentences": np.concatenate(lengths),
            "unigrams": np.sum(unigrams, axis=0),
        }
        for name, array in index.items():
            np.save(built / f"{split}.{name}.npy", array)
        splits[split] = {
            "documents": len(index["documents"]) - 1,
            "sentences": len(index["sentences"]),
            "tokens": int(index["unigrams"].sum()),
            "shards": [
                {"file": name, "documents": len(place.part)}
                for name, place in zip(names, places, strict=True)
            ],
        }
    about = {
        "file": tokenizer.file_name,
        "kind": tokenizer.kind,
        "cased": tokenizer.cased,
        "size": tokenizer.vocab.size,
        "hash": tokenizer.hash,
    }
    return {"format": store.FORMAT, "version": store.VERSION, "vocab": about, "splits": splits}


class _Shard(NamedTuple):
    place: shards.Place
    paths: list
    target: Path
    size: int


def _write_shard(task):
    return shards.write(task.place, task.paths, task.target, size=task.size)


def _summary(output, meta, characters, seconds):
    train, held_out = (meta["splits"][name] for name in shards.SPLITS)
    left_out = sum(meta["left_out"].values())
    progress.say(
        f"{output}: {train['documents'] + held_out['documents']:,} documents "
        f"({held_out['documents']:,} held out, {left_out:,} left out), "
        f"{train['sentences'] + held_out['sentences']:,} sentences, {meta['words']:,} words, "
        f"{train['tokens'] + held_out['tokens']:,} tokens of {meta['vocab']['size']:,} pieces; "
        f"{seconds:.1f} s, {characters / 1e6 / seconds:.2f} MB/s"
    )
