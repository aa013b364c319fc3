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

SAMPLE_PER_TOKEN = 2048  # characters of training text per token of the vocabulary ...
SAMPLE_LIMIT = 2**24  # ... up to this limit: training needs about 50 bytes per character

EPILOG = """example:
  bertgrow prepare --input 'wiki/*.txt.xz' --vocab vocab.txt --output stores/wiki
  bertgrow prepare --vocab-size 2000 --output stores/docs     # the default corpus

formats: .txt has one paragraph or sentence per line and a blank line between documents;
.jsonl and .parquet have a field "text"; each may end in .gz, .xz or .zst."""


def add_arguments(parser):
    add = parser.add_argument
    add("--input", nargs="+", default=["docs"], metavar="PATH",
        help="files, globs, tfds:NAME[:split], or docs: the documentation of the installed "
        "Python packages (default: docs)")  # fmt: skip
    add("--output", required=True, metavar="FOLDER", help="folder of the token store")
    add(
        "--vocab",
        metavar="FILE",
        help="vocabulary to use: vocab.txt (WordPiece) or a SentencePiece .model",
    )
    add("--vocab-size", type=int, default=8000, metavar="N",
        help="size of the vocabulary to train if --vocab is not given "
        "(default: %(default)s)")  # fmt: skip
    add("--vocab-kind", choices=vocabulary_training.KINDS, default="unigram",
        help="method of training the vocabulary (default: %(default)s)")  # fmt: skip
    add("--cased", action="store_true", help="keep upper case and accents in the vocabulary")
    add("--held-out", type=float, default=0.01, metavar="FRACTION",
        help="fraction of the documents to hold out for evaluation; more if the smoke recipes "
        "need more (default: %(default)s)")  # fmt: skip
    add(
        "--language",
        default="en",
        help="language of the sentence splitter (default: %(default)s)",
    )
    add("--on-bad-bytes", choices=("stop", "skip"), default="stop",
        help="what to do with a document that is not UTF-8: stop, or skip and count it "
        "(default: %(default)s)")  # fmt: skip
    add(
        "--workers",
        type=int,
        metavar="N",
        help="number of worker processes (default: one per core)",
    )


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
    begin = time.monotonic()
    if not 0 < held_out < 1:
        raise InputError(f"--held-out {held_out}: expected a fraction between 0 and 1")
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: expected at least 1")
    output = Path(output)
    tokenizer = vocabulary.load(vocab, cased=cased) if vocab else None
    texts = sources.find([inputs] if isinstance(inputs, str) else inputs)
    options = {"size": vocab_size, "kind": vocab_kind}
    if tokenizer:
        options = {"vocab": tokenizer.hash}
    made_from = {
        "options": {**options, "cased": cased, "held_out": held_out, "language": language,
                    "on_bad_bytes": on_bad_bytes},
        "sources": [{"name": source.name, "sha256": source.fingerprint} for source in texts],
    }  # fmt: skip
    with _errors_reported(output), building.lock(output):
        if (output / "store.json").exists():
            return _existing(output, made_from)
        work = building.work_folder(output, made_from)
        job = _Job(work, texts, language, on_bad_bytes)
        with processes.pool(workers or processes.cores()) as run:
            tokenizer = tokenizer or _trained(job, run, vocab_size, vocab_kind, cased)
            paths, skipped, characters = _tokenise(job, run, tokenizer)
            plan = shards.plan(paths, held_out=held_out)
            with progress.phase("writing shards"):
                meta = building.write(work, run, plan, paths, tokenizer)
        meta["made_from"] = made_from
        meta["left_out"]["bad_bytes"] = skipped
        building.finish(output, work, meta)
    _summary(output, meta, plan, characters, time.monotonic() - begin)
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
    bad, _ = chunks.bad_byte_handler(job.on_bad_bytes)
    characters = min(SAMPLE_LIMIT, SAMPLE_PER_TOKEN * size)
    with progress.phase("reading text to train a vocabulary"):
        sampled = chunks.sample(job.sources, bad, job.language, characters=characters)
        sentences = [s for some in run(chunks.sentences, sampled) for s in some]
    with progress.phase(f"training a vocabulary of {size:,} tokens ({kind})"):
        return vocabulary_training.train(sentences, size=size, kind=kind, cased=cased)


def _tokenise(job, run, tokenizer):
    """Writes all parts; returns their paths in order, documents skipped, characters read."""
    vocab = job.work / tokenizer.file_name
    if not vocab.exists():
        unfinished = job.work / "vocab.tmp"
        unfinished.write_bytes(tokenizer.content)
        unfinished.rename(vocab)
    bad, skipped = chunks.bad_byte_handler(job.on_bad_bytes)
    paths, characters = [], 0

    def missing():
        for number, source in enumerate(job.sources):
            for count, chunk in enumerate(chunks.group(source, bad, job.language)):
                paths.append(job.work / "parts" / f"{number:04d}-{count:06d}")
                if not paths[-1].exists():
                    yield chunks.PartTask(chunk, vocab, tokenizer.cased, paths[-1])

    with progress.phase("tokenising", "MB") as advance:
        for size in run(chunks.make_part, missing()):
            characters += size
            advance(size / 1e6)
    if skipped:
        progress.log(f"skipped {len(skipped)} documents that are not UTF-8, e.g. {skipped[0]}")
    return paths, len(skipped), characters


def _existing(output, made_from):
    existing = store.Store(output)
    if existing.meta["made_from"] != made_from:
        old, new = existing.meta["made_from"]["options"], made_from["options"]
        changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        difference = " and ".join(sorted(changed)) or "inputs"
        raise InputError(
            f"{output} contains a store made with other {difference}; "
            "give another --output or remove that folder"
        )
    building.remove_unfinished(output)
    progress.log(f"{output} is already made from these inputs and options")
    return existing


@contextlib.contextmanager
def _errors_reported(output):
    """Turns storage errors (full, not writable) and a dead worker into an `InputError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        raise InputError(
            f"--output {output}: {error.strerror}; free space or give another folder, then run "
            "the same command again to continue"
        ) from error
    except process.BrokenProcessPool as error:
        raise InputError(
            "a worker process ended unexpectedly (out of memory, or a script without "
            "`if __name__ == '__main__'`); run the same command again with fewer "
            "--workers to continue"
        ) from error


def _summary(output, meta, plan, characters, seconds):
    train, held_out = (meta["splits"][name] for name in shards.SPLITS)
    documents, sentences, tokens = (
        f"{train[name] + held_out[name]:,} {name}"
        for name in ("documents", "sentences", "tokens")
    )
    progress.log(f"{output}: {documents}, {sum(meta['left_out'].values()):,} left out")
    progress.log(f"{sentences}, {meta['words']:,} words, {tokens}")
    progress.log(
        f"held out: {held_out['documents']:,} documents, {held_out['tokens']:,} tokens"
    )
    if plan.added:
        progress.log(
            f"by --held-out alone {held_out['documents'] - plan.added:,} documents; recipes "
            f"need at least {shards.MIN_DOCUMENTS} and {shards.MIN_TOKENS:,} tokens"
        )
    progress.log(
        f"{meta['vocab']['size']:,} tokens in the vocabulary; {seconds:.1f} s, "
        f"{characters / 1e6 / seconds:.2f} MB/s"
    )
