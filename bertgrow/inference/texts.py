"""Texts as token ids with [CLS] and [SEP], for a model that takes single sentences."""

import numpy as np

from bertgrow.core.errors import InputError

MASK = "[MASK]"


def encode(tokenizer, texts, *, masks=False):
    """Encodes each text as [CLS] tokens [SEP]; returns a list of int32 arrays.

    Args:
      tokenizer: `bertgrow.data.corpus.vocabulary.Tokenizer`.
      texts: list of str.
      masks: whether "[MASK]" in a text is the special token; otherwise it is plain text.
    """
    check(texts)
    parts = [text.split(MASK) if masks else [text] for text in texts]
    ids = iter(tokenizer.encode([part for split in parts for part in split]))
    vocab, sequences = tokenizer.vocab, []
    for split in parts:
        row = [[vocab.cls_id]]
        for number in range(len(split)):
            row += [[vocab.mask_id]] * (number > 0) + [next(ids)]
        sequences.append(np.concatenate([*row, [vocab.sep_id]]).astype(np.int32))
    return sequences


def cut(rows, max_length, tokenizer):
    """Shortens rows to `max_length` tokens; the last token stays [SEP]."""
    end = np.int32([tokenizer.vocab.sep_id])
    return [
        row if len(row) <= max_length else np.append(row[: max_length - 1], end) for row in rows
    ]


def check(texts):
    """Raises InputError unless `texts` is a list of str."""
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"texts is {type(texts).__name__}; expected a list of str")


def check_lengths(rows, max_length):
    """Raises InputError if a row is longer than the model's position table."""
    for number, row in enumerate(rows):
        if len(row) > max_length:
            raise InputError(
                f"text {number} has {len(row)} tokens with [CLS] and [SEP], and the model has "
                f"{max_length} positions: shorten it"
            )
