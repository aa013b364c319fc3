"""Small labelled data whose label is a word of the text, and a small model to fine-tune."""

import json

import numpy as np
import pretrained_models

from bertgrow.interop import native
from bertgrow.models.bert import BertConfig

GOOD, BAD = "paris", "file"
OTHER = ["the", "a", "list", "of", "returns", "is", "in", "france", "name"]
CONFIG = BertConfig(
    vocab_size=len(pretrained_models.TOKENS), num_layers=1, width=16, num_heads=2,
    ffn_width=32, max_length=32, dropout=0.0, attention_dropout=0.0, dtype="float32",
)  # fmt: skip


def model(folder):
    """A folder with a random model of one layer."""
    native.write(folder, pretrained_models.of(CONFIG))
    return folder


def texts(count, seed, longest=6):
    """Pairs (text of 3 to `longest` words, 0 or 1)."""
    draw = np.random.default_rng(seed)
    for _ in range(count):
        label = int(draw.integers(2))
        words = list(draw.choice(OTHER, draw.integers(2, longest)))
        words.insert(draw.integers(len(words)), GOOD if label else BAD)
        yield " ".join(words), label


def sst2(folder, *, train=160, dev=24, test=5, longest=6):
    """A folder in the layout of SST-2."""
    folder.mkdir()
    for name, count, seed in (("train", train, 0), ("dev", dev, 1)):
        rows = [f"{text}\t{label}" for text, label in texts(count, seed, longest)]
        (folder / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *rows, ""]))
    rows = [f"{number}\t{text}" for number, (text, _) in enumerate(texts(test, 2))]
    (folder / "test.tsv").write_text("\n".join(["index\tsentence", *rows, ""]))
    return folder


def squad(folder, *, version, train=48, dev=8):
    """A folder in the layout of SQuAD; the answer is the word behind "name".

    In v2.0, questions of paragraphs without that word have no answer.
    """
    folder.mkdir()
    for name, count, seed in (("train", train, 0), ("dev", dev, 1)):
        draw, paragraphs = np.random.default_rng(seed), []
        for number in range(count):
            words = list(draw.choice(["the", "list", "of", "returns", "is"], 6))
            has_answer = version == "v1.1" or number % 3 > 0
            if has_answer:
                words.insert(place := int(draw.integers(5)), "name")
                words.insert(place + 1, str(draw.choice(["paris", "france", "file"])))
            answers = []
            if has_answer:
                start = len(" ".join([*words[: place + 1], ""]))
                answers = [dict(text=words[place + 1], answer_start=start)]
            paragraphs.append(dict(
                context=" ".join(words),
                qas=[dict(id=f"{name}{number}", question="a name", answers=answers,
                          is_impossible=not has_answer)],
            ))  # fmt: skip
        content = dict(version=version, data=[dict(title="t", paragraphs=paragraphs)])
        (folder / f"{name}-{version}.json").write_text(json.dumps(content))
    return folder
