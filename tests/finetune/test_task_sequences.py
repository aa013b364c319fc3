"""Sequences of texts: segments and truncation."""

import numpy as np
import pretrained_models

from bertgrow.finetune import sequences
from bertgrow.finetune.examples import Examples

TOKENIZER = pretrained_models.tokenizer()


def encoded(texts, pairs=None, max_length=32):
    examples = Examples([], texts, pairs, np.arange(len(texts), dtype=np.int32))
    return sequences.encode(examples, TOKENIZER, max_length)


def words(tokens):
    return " ".join(TOKENIZER.tokens[token] for token in tokens)


def test_pairs_are_two_segments_and_padding_is_masked():
    batch = encoded(["the list", "a"], ["in paris", "file"]).batch(
        np.array([1, 0]), 8, TOKENIZER.vocab.pad_id, size=3
    )

    assert words(batch["tokens"][0]) == "[CLS] a [SEP] file [SEP] [PAD] [PAD] [PAD]"
    assert batch["types"][0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert batch["mask"].sum(axis=1).tolist() == [5, 7, 1]
    assert batch["labels"].tolist() == [1, 0, 0]
    assert batch["weights"].tolist() == [1, 1, 0]
    assert batch["numbers"].tolist() == [1, 0, -1]


def test_the_longer_text_loses_tokens_until_both_fit():
    cut = encoded(["b c d e f g", "b"], ["h i", "c d e f g h"], max_length=8)

    assert words(cut.tokens[: cut.starts[1]]) == "[CLS] b c d [SEP] h i [SEP]"
    assert words(cut.tokens[cut.starts[1] :]) == "[CLS] b [SEP] c d e f [SEP]"
    assert encoded(["b c d e f g"], max_length=5).sizes.tolist() == [5]
