"""Times the input pipeline against Hugging Face: masked batches and corpus preparation.

    python benchmarks/input_pipeline.py --against hf
    python benchmarks/input_pipeline.py --against hf --input 'wiki/*.txt.xz' --vocab vocab.txt

The text is cut at --megabytes and stored uncompressed on disk. Without --input it is the
documentation of the installed Python packages. If `BERTGROW_DATA` names a folder of corpora,
its Wikipedia text and vocabulary are used instead. Both sides use WordPiece.
"""

# Workers of `prepare` import this file too, so slow imports are local to functions.
import argparse
import itertools
import os
import shutil
import tempfile
from pathlib import Path

import rounds

from bertgrow.data.corpus import prepare, sources
from bertgrow.data.sequences import pipeline
from bertgrow.data.sequences import streams as addressed

TARGETS = dict(batches=5.0, prepare=0.5)  # minimum ratio to Hugging Face, on two cores
RATE, MAX_PREDICTIONS = 0.15, {128: 20, 512: 76}
ROWS = 8192  # sequences tokenised beforehand for the Hugging Face loader


def main():
    args = arguments()
    inputs, vocab = corpus(args)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        text = folder / "text.txt"
        size = cut(inputs, text, args.megabytes * 10**6)
        print(f"{size / 1e6:.1f} MB of {', '.join(inputs)}")
        store = prepare.prepare(
            [str(text)], folder / "store", vocab=vocab, vocab_kind="wordpiece"
        )
        results = dict(
            prepare=prepared(text, store, folder / "again", args),
            batches=masked_batches(store, args),
        )
    rounds.finish(results, as_json=args.json)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--against", choices=["hf"], required=True, help="the rival")
    parser.add_argument("--input", nargs="+", help="as in `bertgrow prepare`")
    parser.add_argument("--vocab", help="vocab.txt; by default one of 8000 pieces is trained")
    parser.add_argument("--megabytes", type=int, default=20, help="of text to use; 20")
    parser.add_argument("--length", type=int, default=128, choices=MAX_PREDICTIONS, help="128")
    parser.add_argument("--batch", type=int, default=256, help="rows a batch; 256")
    parser.add_argument("--steps", type=int, default=128, help="batches of a turn; 128")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every side; 5")
    parser.add_argument("--json", action="store_true", help="results as JSON, the last line")
    return parser.parse_args()


def corpus(args):
    """The inputs and the vocabulary: from the options, `BERTGROW_DATA` or the default text."""
    data = os.environ.get("BERTGROW_DATA")
    if args.input or not data:
        return args.input or ["docs"], args.vocab
    vocab = Path(data) / "vocab" / "bert-base-uncased-vocab.txt"
    return [str(Path(data) / "wikipedia_en" / "train-*.txt.xz")], args.vocab or str(vocab)


def cut(inputs, target, size):
    """Writes the first documents of some inputs to a text file; returns its size in bytes."""
    used = 0
    with target.open("wb") as stream:
        for source in sources.find(inputs):
            for raw in source.raw(lambda message: None):
                if used >= size:
                    return used
                text = source.read(raw)
                if text:
                    used += stream.write(f"{text}\n\n".encode())
    return used


def prepared(text, store, folder, args):
    """Times `prepare` with a given vocabulary against `encode_batch` of the same lines."""
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    lines = [line for line in text.read_text(encoding="utf-8").splitlines() if line]
    vocab, size = store.folder / store.meta["vocab"]["file"], text.stat().st_size / 1e6
    tokenizer = rival_tokenizer(store).backend_tokenizer

    def prepare_store():
        shutil.rmtree(folder, ignore_errors=True)
        prepare.prepare([str(text)], folder, vocab=vocab)
        return size

    def encode_lines():
        for begin in range(0, len(lines), 1000):
            tokenizer.encode_batch(lines[begin : begin + 1000], add_special_tokens=False)
        return size

    rates = rounds.alternate(
        {"prepare": prepare_store, "encode_batch": encode_lines}, args.rounds
    )
    rounds.show("text to token store", rates, "MB/s")
    value = rounds.ratio(rates, "prepare", "encode_batch")
    rounds.show_ratio("prepare / encode_batch alone", value, TARGETS["prepare"])
    return dict(megabytes_per_second=rounds.medians(rates), ratio=value)


def masked_batches(store, args):
    """Times batches with jitted masks against the collator, on the same packed sequences."""
    import torch

    loader = Loader(store, args)
    sides = {"bertgrow": MaskedBatches(store, args).advance}
    sides["collator"] = loader.advance
    rates = rounds.alternate(sides, args.rounds + 1)
    rates = {name: values[1:] for name, values in rates.items()}  # the first round is a warm-up
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    rounds.show(f"batches of {args.batch} rows of {args.length}, masked", rates, "tokens/s")
    value = rounds.ratio(rates, "bertgrow", "collator")
    rounds.show_ratio("batches: bertgrow / collator", value, TARGETS["batches"])
    return dict(tokens_per_second=rounds.medians(rates), ratio=value)


class MaskedBatches:
    """Packed, shuffled sequences, read as in a run and masked as in its train step."""

    def __init__(self, store, args):
        import jax

        from bertgrow.data.sequences import masking

        self.steps, self.pad = args.steps, store.vocab.pad_id
        stream = addressed.Stream([store], length=args.length, seed=0)
        self.batches = pipeline.batches(stream, batch=args.batch)
        self.jax = jax
        max_predictions = MAX_PREDICTIONS[args.length]

        @jax.jit
        def mask(tokens, ids):
            key = jax.random.key(0)
            return masking.mask_tokens(
                tokens, ids, key, vocab=store.vocab, rate=RATE, max_predictions=max_predictions
            )

        self.mask = mask

    def advance(self):
        """Takes the batches of one turn and returns how many tokens they hold."""
        tokens = 0
        for batch, _ in itertools.islice(self.batches, self.steps):
            tokens += int((batch["tokens"] != self.pad).sum())
            masked = self.mask(batch["tokens"], batch["ids"])
        self.jax.block_until_ready(masked)
        return tokens


class Loader:
    """`DataCollatorForLanguageModeling` in a `DataLoader`, on sequences tokenised beforehand.

    The sequences are in memory with their mask of special tokens, so the collator need not
    search for them. Its time does not include packing and reading.
    """

    def __init__(self, store, args):
        import torch
        import transformers

        stream = addressed.Stream([store], length=args.length, seed=0)
        addresses, _ = stream.take(stream.start(), ROWS)
        tokens = stream.read(addresses)["tokens"]
        special = store.vocab.special[tokens].astype(int).tolist()
        real = (tokens != store.vocab.pad_id).astype(int).tolist()
        examples = [
            dict(input_ids=row, attention_mask=real, special_tokens_mask=mask)
            for row, real, mask in zip(tokens.tolist(), real, special, strict=True)
        ]
        collator = transformers.DataCollatorForLanguageModeling(
            rival_tokenizer(store), mlm_probability=RATE
        )
        self.loader = torch.utils.data.DataLoader(
            examples, args.batch, shuffle=True, collate_fn=collator, drop_last=True
        )
        self.steps = args.steps

    def advance(self):
        """Takes the batches of one turn and returns how many tokens they hold."""
        tokens = 0
        epochs = itertools.chain.from_iterable(itertools.repeat(self.loader))
        for batch in itertools.islice(epochs, self.steps):
            tokens += int(batch["attention_mask"].sum())
        return tokens


def rival_tokenizer(store):
    """The Hugging Face tokenizer with the vocabulary of a store."""
    import transformers

    return transformers.BertTokenizer(str(store.folder / store.meta["vocab"]["file"]))


if __name__ == "__main__":
    main()
