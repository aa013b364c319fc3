"""Trains a vocabulary and builds a token store from text."""

import contextlib
import functools
import shlex
import signal
import sys

from bertgrow.core import signals, units
from bertgrow.data.corpus import prepare, store, vocabulary_training

EPILOG = """example:
  bertgrow prepare --input 'wiki/*.txt.xz' --vocab vocab.txt --output stores/wiki
  bertgrow prepare --vocab-size 2000 --output stores/docs     # the default corpus
  bertgrow prepare --verify stores/docs

formats: .txt has one paragraph or sentence per line and a blank line between documents;
.jsonl and .parquet have a field "text"; each may end in .gz, .xz or .zst."""


def add_arguments(parser):
    add = parser.add_argument
    add("--input", nargs="+", default=["docs"], metavar="PATH",
        help="files, globs, tfds:NAME[:split], or docs: the documentation of the installed "
        "Python packages (default: docs)")  # fmt: skip
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--output", metavar="FOLDER", help="folder of the token store")
    task.add_argument("--verify", metavar="STORE",
        help="compare all files of a store with their sha256; prepares nothing")  # fmt: skip
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
    add("--strict", action="store_true", help="turn warnings about the text into errors")
    add(
        "--workers",
        type=int,
        metavar="N",
        help="number of worker processes (default: one per core)",
    )


def main(args):
    if args.verify:
        _verify(args.verify)
        return 0
    with contextlib.ExitStack() as stack:
        prepare.prepare(
            args.input,
            args.output,
            vocab=args.vocab,
            vocab_size=args.vocab_size,
            vocab_kind=args.vocab_kind,
            cased=args.cased,
            held_out=args.held_out,
            language=args.language,
            on_bad_bytes=args.on_bad_bytes,
            strict=args.strict,
            workers=args.workers,
            on_saved=functools.cache(functools.partial(_stop_on_signals, stack)),
        )
    return 0


def _verify(folder):
    total = 0
    for name, size in store.verify(folder):
        print(f"{name}: {units.si(size, 'B')}, sha256 agrees", flush=True)
        total += size
    print(f"{folder}: all files are intact, {units.si(total, 'B')}")


def _stop_on_signals(stack):
    """From now on a signal ends the command with exit code 75: a repeated call continues."""
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    stop = signals.StopRequest(
        resume=shlex.join(["bertgrow", *sys.argv[1:]]),
        signals=[each for each in ending if signal.getsignal(each) != signal.SIG_IGN],
    )
    stack.enter_context(stop)
    stack.enter_context(stop.uninterruptible())
