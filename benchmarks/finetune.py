"""Times fine-tuning of BERT-mini on SST-2 against the Hugging Face Trainer on the same model.

    python benchmarks/finetune.py                        # data in the folder BERTGROW_DATA
    python benchmarks/finetune.py --data SST-2 --vocab vocab.txt --examples 20000

The Trainer needs `pip install accelerate` besides requirements-parity.txt. It runs with its
default padding, that of each batch to its longest sequence, and with `group_by_length`. Each
side trains in a process of its own, from the same random weights (4 layers, width 256, float32)
on the same token ids, with an evaluation after every epoch and checkpoints every 500 steps and
at the end. Its time is that from the tokenised examples to the end, compilation included.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rounds

SIDES = ("bertgrow", "Hugging Face", "Hugging Face, group_by_length")
TARGET = 0.6  # of the time of the Trainer with its default padding
RATE, LENGTH = 3e-4, 128  # peak learning rate; tokens of a sequence at most


def main():
    args = arguments()
    if args.side:
        print(json.dumps(run_side(args.side, args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), args)
        results = {side: in_a_process(side, folder, args) for side in SIDES}
    first, default, _ = (results[side]["seconds"] for side in SIDES)
    print(f"BERT-mini, SST-2, {args.examples:,} examples, {args.epochs} epochs of {args.batch}")
    for side, figures in results.items():
        share = figures["seconds"] / default
        print(
            f"  {side:<32} {figures['seconds']:>8.1f} s  {share:>5.0%}  padding "
            f"{figures['padding']:.0%}  dev accuracy {figures['accuracy']:.3f}"
        )
    verdict = "met" if first / default <= TARGET else "missed"
    print(f"bertgrow / Hugging Face ... {first / default:.2f}x (target {TARGET}x: {verdict})")
    rounds.finish(dict(results=results), as_json=args.json)


def arguments():
    data = Path(os.environ.get("BERTGROW_DATA", "."))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=data / "glue" / "SST-2")
    parser.add_argument(
        "--vocab", type=Path, default=data / "vocab" / "bert-base-uncased-vocab.txt"
    )
    parser.add_argument("--examples", type=int, default=20_000, help="of 67,349 in all")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--json", action="store_true", help="all figures as one line of JSON")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def in_a_process(side, folder, args):
    """Figures of a side, from a process without compiled programs of an earlier run."""
    words = ["--side", side, "--folder", folder, "--vocab", args.vocab]
    words += ["--epochs", args.epochs, "--batch", args.batch]
    child = subprocess.run(
        [sys.executable, __file__, *map(str, words)], check=True, stdout=subprocess.PIPE,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "compiled")},
    )  # fmt: skip
    return json.loads(child.stdout.splitlines()[-1])


def prepare(folder, args):
    """Writes the examples, and the model as folders of both programs."""
    import jax

    from bertgrow.data.corpus import vocabulary
    from bertgrow.finetune import tables
    from bertgrow.interop import hugging_face, native
    from bertgrow.interop.pretrained import Pretrained
    from bertgrow.models import bert

    (folder / "SST-2").mkdir()
    for part, limit in (("train", args.examples), ("dev", None)):
        files = sorted(args.data.glob(f"{part}.tsv*"))
        if not files:
            sys.exit(f"--data {args.data} has no {part}.tsv; give the folder of SST-2")
        columns = tables.read(files[0]).columns
        lines = [
            f"{a}\t{b}" for a, b in zip(columns["sentence"], columns["label"], strict=True)
        ]
        text = "\n".join(["sentence\tlabel", *lines[:limit], ""])
        (folder / "SST-2" / f"{part}.tsv").write_text(text, "utf-8")
    config = bert.BertConfig(
        num_layers=4, width=256, num_heads=4, ffn_width=1024, dtype="float32"
    )
    params = jax.jit(bert.network(config).init)(jax.random.key(0))
    tokenizer = vocabulary.load(args.vocab)
    model = Pretrained("bert", config, params, tokenizer, "random weights")
    native.write(folder / "model", model)
    hugging_face.write(folder / "hugging_face", model)


def run_side(side, args):
    """Trains one side; {"seconds", "padding", "accuracy"}."""
    from bertgrow.data.corpus import vocabulary
    from bertgrow.finetune import reading

    problem = reading.read(
        "glue/sst2", args.folder / "SST-2", vocabulary.load(args.vocab), LENGTH
    )
    return ours(problem, args) if side == SIDES[0] else rival(side, problem, args)


def ours(problem, args):
    from bertgrow.finetune import job, launch
    from bertgrow.inference import model
    from bertgrow.train import metrics

    settings = job.Settings(RATE, args.batch, args.epochs, LENGTH, seed=0, log_every=10)
    workdir, begun = args.folder / "run", time.perf_counter()
    outcome = launch.launch(
        workdir, lambda: problem, model.read(args.folder / "model"), settings, resume=""
    )
    seconds = time.perf_counter() - begun
    rows = [row for row in metrics.read(workdir / "metrics.jsonl") if "padding" in row]
    return dict(
        seconds=seconds, padding=float(np.mean([row["padding"] for row in rows])),
        accuracy=outcome.results["metrics"]["SST-2"]["accuracy"],
    )  # fmt: skip


def rival(side, problem, args):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(args.folder / "hugging_face")
    train, dev = (features(rows) for rows in (problem.train, problem.dev["SST-2"]))
    shapes, pad = [], transformers.DataCollatorWithPadding(tokenizer)

    def collate(rows):
        batch = pad(rows)
        shapes.append((int(batch["attention_mask"].sum()), batch["attention_mask"].numel()))
        return batch

    def accuracy(predicted):
        return dict(accuracy=(predicted.predictions.argmax(-1) == predicted.label_ids).mean())

    by_length = side.endswith("group_by_length")
    options = transformers.TrainingArguments(
        output_dir=args.folder / side, per_device_train_batch_size=args.batch,
        per_device_eval_batch_size=args.batch, num_train_epochs=args.epochs,
        learning_rate=RATE, weight_decay=0.01, warmup_steps=0.1, eval_strategy="epoch",
        report_to="none", disable_tqdm=True,
        train_sampling_strategy="group_by_length" if by_length else "random",
    )  # fmt: skip
    begun = time.perf_counter()
    trainer = transformers.Trainer(
        transformers.AutoModelForSequenceClassification.from_pretrained(
            args.folder / "hugging_face"
        ),
        options, train_dataset=train, eval_dataset=dev, data_collator=collate,
        compute_metrics=accuracy,
    )  # fmt: skip
    trainer.train()
    seconds = time.perf_counter() - begun
    real, places = np.sum(shapes, axis=0)
    (*_, last) = (row for row in trainer.state.log_history if "eval_accuracy" in row)
    return dict(
        seconds=seconds, padding=float(1 - real / places), accuracy=last["eval_accuracy"]
    )


def features(rows):
    """`Sequences` as a list of inputs of a Hugging Face model."""
    return [
        dict(
            input_ids=rows.tokens[start:end].tolist(),
            token_type_ids=[0] * (end - start),
            attention_mask=[1] * (end - start),
            labels=int(label),
        )
        for start, end, label in zip(rows.starts, rows.starts[1:], rows.labels, strict=False)
    ]


if __name__ == "__main__":
    main()
