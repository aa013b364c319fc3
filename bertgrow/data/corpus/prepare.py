"""Trains a vocabulary and builds a token store from text."""

import contextlib
import errno
import time
from concurrent.futures import process
from pathlib import Path
from typing import NamedTuple

from bertgrow.core.errors import InputError
from bertgrow.data import workers as processes
from bertgrow.data.corpus import (
    building,
    chunks,
    progress,
    shards,
    sources,
    store,
    vocabulary,
    vocabulary_training,
)

SAMPLE_PER_PIECE = 2048  # characters of training text per token of the vocabulary ...
SAMPLE_LIMIT = 2**24  # ... up to this limit: training needs about 50 bytes per character

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
        help="share of the documents kept for evaluation, more where that is too little for "
        "the smoke recipes (default: %(default)s)")  # fmt: skip
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
    inputs,
    output,
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
    """Builds the token store in `output` and opens it.

    A finished store of the same inputs and options is opened, and not built again. The
    arguments are the flags of `bertgrow prepare`. A repeated call continues an interrupted
    one and reuses its finished parts.
    """
    begun = time.monotonic()
    if not 0 < held_out < 1:
        raise InputError(f"--held-out {held_out}: expected a share between 0 and 1")
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: expected at least 1")
    output = Path(output)
    given = vocabulary.load(vocab, cased=cased) if vocab else None
    found = sources.find([inputs] if isinstance(inputs, str) else inputs)
    wanted = {"vocab": given.hash} if given else {"size": vocab_size, "kind": vocab_kind}
    made_from = {
        "options": {**wanted, "cased": cased, "held_out": held_out, "language": language,
                    "on_bad_bytes": on_bad_bytes},
        "sources": [{"name": source.name, "sha256": source.fingerprint} for source in found],
    }  # fmt: skip
    with _troubles_told(output), building.only_one(output):
        if (output / "store.json").exists():
            return _existing(output, made_from)
        work = building.folder(output, made_from)
        job = _Job(work, found, language, on_bad_bytes)
        with processes.pool(workers or processes.cores()) as run:
            tokenizer = given or _trained(job, run, vocab_size, vocab_kind, cased)
            paths, skipped, characters = _tokenise(job, run, tokenizer)
            plan = shards.plan(paths, held_out=held_out)
            with progress.shown("writing shards"):
                meta = building.write(work, run, plan, paths, tokenizer)
        meta["made_from"] = made_from
        meta["left_out"]["bad_bytes"] = skipped
        building.finish(output, work, meta)
    _summary(output, meta, plan, characters, time.monotonic() - begun)
    return store.Store(output)


class _Job(NamedTuple):
    """Values that all steps of one run use."""

    work: Path
    sources: list
    language: str
    on_bad_bytes: str


def _trained(job, run, size, kind, cased):
    """Trains a vocabulary, or loads the one of an interrupted run."""
    for name in ("vocab.txt", "vocab.model"):
        if (job.work / name).exists():
            return vocabulary.load(job.work / name, cased=cased)
    bad, _ = chunks.bad_bytes(job.on_bad_bytes)
    characters = min(SAMPLE_LIMIT, SAMPLE_PER_PIECE * size)
    with progress.shown("reading text to train a vocabulary"):
        sampled = chunks.sample(job.sources, bad, job.language, characters=characters)
        sentences = [s for some in run(chunks.sentences, sampled) for s in some]
    with progress.shown(f"training a vocabulary of {size:,} tokens ({kind})"):
        return vocabulary_training.train(sentences, size=size, kind=kind, cased=cased)


def _tokenise(job, run, tokenizer):
    """Writes all parts; returns their paths in order, documents skipped, characters read."""
    vocab = job.work / tokenizer.file_name
    if not vocab.exists():
        unfinished = job.work / "vocab.tmp"
        unfinished.write_bytes(tokenizer.content)
        unfinished.rename(vocab)
    bad, skipped = chunks.bad_bytes(job.on_bad_bytes)
    paths, characters = [], 0

    def missing():
        for number, source in enumerate(job.sources):
            for count, chunk in enumerate(chunks.grouped(source, bad, job.language)):
                paths.append(job.work / "parts" / f"{number:04d}-{count:06d}")
                if not paths[-1].exists():
                    yield chunks.Recipe(chunk, vocab, tokenizer.cased, paths[-1])

    with progress.shown("tokenising", "MB") as advance:
        for size in run(chunks.make_part, missing()):
            characters += size
            advance(size / 1e6)
    if skipped:
        progress.say(f"left out {len(skipped)} documents that are not UTF-8, e.g. {skipped[0]}")
    return paths, len(skipped), characters


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


@contextlib.contextmanager
def _troubles_told(output):
    """Turns storage errors (full, not writable) and a dead worker into an `InputError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        raise InputError(
            f"--output {output}: {error.strerror}; make room or give another folder, then run "
            "the same command again to go on"
        ) from error
    except process.BrokenProcessPool as error:
        raise InputError(
            "a worker process ended by itself (out of memory, or a script without `if __name__ "
            "== '__main__'`); run the same command again, with fewer --workers, to go on"
        ) from error


def _summary(output, meta, plan, characters, seconds):
    train, held_out = (meta["splits"][name] for name in shards.SPLITS)
    documents, sentences, tokens = (
        f"{train[name] + held_out[name]:,} {name}"
        for name in ("documents", "sentences", "tokens")
    )
    progress.say(f"{output}: {documents}, {sum(meta['left_out'].values()):,} left out")
    progress.say(f"{sentences}, {meta['words']:,} words, {tokens}")
    progress.say(
        f"held out: {held_out['documents']:,} documents, {held_out['tokens']:,} tokens"
    )
    if plan.added:
        progress.say(
            f"by --held-out alone {held_out['documents'] - plan.added:,} documents; recipes "
            f"need at least {shards.MIN_DOCUMENTS} and {shards.MIN_TOKENS:,} tokens"
        )
    progress.say(
        f"{meta['vocab']['size']:,} tokens in the vocabulary; {seconds:.1f} s, "
        f"{characters / 1e6 / seconds:.2f} MB/s"
    )
