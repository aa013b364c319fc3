"""Sequences of texts: segments, truncation, shuffling that resumes at any position."""

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
    assert encoded(["b c d e f g"], max_length=5).longest == 5


def test_every_epoch_has_each_sequence_once_in_another_order():
    stream = sequences.Shuffled(encoded(list("bcdefgh")), length=8, pad_id=0, seed=3)
    position, taken = stream.start(), []
    for _ in range(5):  # 20 of two epochs of 7, and 6 of the third
        numbers, position = stream.take(position, 4)
        taken += numbers.tolist()

    assert sorted(taken[:7]) == sorted(taken[7:14]) == list(range(7))
    assert taken[:7] != taken[7:14]
    again, _ = stream.take({"row": 6, "cursors": []}, 5)
    assert again.tolist() == taken[6:11]


def test_the_length_of_batches_is_that_of_the_longest_sequence():
    sets = [encoded(["b c d"]), encoded(["b c d e f g h"])]

    assert sequences.fitting_length(sets, 32) == 16
    assert sequences.fitting_length(sets, 12) == 12
