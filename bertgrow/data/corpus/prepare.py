"""Builds a token store from text, in parts that an interrupted run reuses."""

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import process
from pathlib import Path
from typing import NamedTuple

from bertgrow.core import system_files
from bertgrow.core.errors import InputError
from bertgrow.data import workers as processes
from bertgrow.data.corpus import (
    building,
    checks,
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
    strict=False,
    workers=None,
    on_saved=lambda: None,
):
    """Builds the token store in `output` and opens it.

    A finished store of the same inputs and options is opened, and not built again. The
    arguments are the flags of `bertgrow prepare`. A repeated call continues an interrupted
    one and reuses its finished parts; `on_saved` is called, perhaps more than once, when
    there are some.
    """
    begin = time.monotonic()
    _check_numbers(held_out, workers)
    output = Path(output)
    warn = checks.Warnings(strict)
    checks.check_language(language, warn)
    tokenizer, training = None, dict(size=vocab_size, kind=vocab_kind)
    if vocab:
        tokenizer = vocabulary.load(vocab, cased=cased)
        checks.check_vocabulary(tokenizer, f"--vocab {vocab}", warn)
    else:
        vocabulary_training.check_options(vocab_size, vocab_kind)
    texts = sources.find([inputs] if isinstance(inputs, str) else inputs)
    options = {"vocab": tokenizer.hash} if tokenizer else training
    made_from = {
        "options": {**options, "cased": cased, "held_out": held_out, "language": language,
                    "on_bad_bytes": on_bad_bytes},
        "sources": [{"name": source.name, "sha256": source.fingerprint} for source in texts],
    }  # fmt: skip
    with _errors_reported(output), building.lock(output):
        if (output / "store.json").exists():
            return _existing(output, made_from, warn)
        work = building.work_folder(output, made_from)
        job = _Job(work, texts, language, on_bad_bytes, on_saved)
        with processes.pool(workers or processes.cores()) as run:
            if not tokenizer:
                tokenizer = _trained(job, run, vocab_size, vocab_kind, cased)
                checks.check_trained(tokenizer, vocab_size, warn)
            meta, plan, characters = _written(job, run, tokenizer, held_out, warn)
        meta |= dict(made_from=made_from, warnings=warn.messages)
        building.finish(output, work, meta)
    _summary(output, meta, plan, characters, time.monotonic() - begin)
    return store.Store(output)


def _check_numbers(held_out, workers):
    if not 0 < held_out < 1:
        raise InputError(f"--held-out {held_out}: expected a fraction between 0 and 1")
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: expected at least 1")


def _written(job, run, tokenizer, held_out, warn):
    """Writes the shards; returns the contents of store.json, the plan, and characters read."""
    paths, skipped, characters = _tokenise(job, run, tokenizer)
    plan = shards.plan(paths, held_out=held_out)
    checks.check_text(plan.counts, warn)
    with progress.phase("writing shards"):
        meta = building.write(job.work, run, plan, paths, tokenizer)
    meta["left_out"]["bad_bytes"] = skipped
    return meta, plan, characters


class _Job(NamedTuple):
    """Values that all steps of one run use."""

    work: Path
    sources: list
    language: str
    on_bad_bytes: str
    on_saved: Callable


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
                paths.append(job.work / "parts" / f"{number:04d}-{count:06d}.npz")
                if paths[-1].exists():
                    job.on_saved()
                else:
                    yield chunks.PartTask(chunk, vocab, tokenizer.cased, paths[-1])

    with progress.phase("tokenising", "MB") as advance:
        for size in run(chunks.make_part, missing()):
            job.on_saved()
            characters += size
            advance(size / 1e6)
    if skipped:
        progress.log(f"skipped {len(skipped)} documents that are not UTF-8, e.g. {skipped[0]}")
    return paths, len(skipped), characters


def _existing(output, made_from, warn):
    existing = store.Store(output)
    if existing.meta["made_from"] != made_from:
        old, new = existing.meta["made_from"]["options"], made_from["options"]
        changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        difference = " and ".join(sorted(changed)) or "inputs"
        raise InputError(
            f"{output} contains a store made with other {difference}; "
            "give another --output or remove that folder"
        )
    for message in existing.meta.get("warnings", ()):
        if message not in warn.messages:
            warn(message)
    building.remove_unfinished(output)
    progress.log(f"{output} is already made from these inputs and options")
    return existing


@contextlib.contextmanager
def _errors_reported(output):
    """Names the folder in errors of writing, and turns a dead worker into an `InputError`."""
    try:
        with system_files.named(output):
            yield
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
