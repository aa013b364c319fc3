"""Vocabularies and their tokenizers.

WordPiece files (`vocab.txt`) use `tokenizers` and give the ids of Google's tokenizer (Devlin
et al., 2019). `.model` files use SentencePiece.
"""

import collections
import hashlib
import itertools
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bertgrow.core import types
from bertgrow.core.errors import InputError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SENTENCEPIECE_NAMES = {
    "[PAD]": "<pad>",
    "[UNK]": "<unk>",
}  # their names in other SentencePiece models
LONGEST_WORD = 200  # characters; Google's limit (the default of `tokenizers` is 100)


class Tokenizer(NamedTuple):
    """A vocabulary with its tokenizer. `content` holds the bytes of the file for `load`."""

    kind: str  # "wordpiece" or "sentencepiece"
    cased: bool
    tokens: list
    vocab: types.Vocab
    hash: str  # sha256 of all that determines the ids
    content: bytes
    appended: tuple  # special tokens that the file does not have
    encode_flat: Callable  # sentences -> (ids [tokens], lengths int32 [sentences])

    @property
    def file_name(self):
        return "vocab.txt" if self.kind == "wordpiece" else "vocab.model"

    def encode(self, sentences):
        """Encodes sentences, without [CLS] and [SEP]; returns a list of int32 arrays."""
        ids, lengths = self.encode_flat(sentences)
        return np.split(ids, np.cumsum(lengths)[:-1]) if len(sentences) else []


def load(path, *, cased=False):
    """Reads `vocab.txt` or a SentencePiece `.model`; appends missing special tokens.

    `cased` applies to WordPiece only: a `.model` contains its own normalisation.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"--vocab {path}: there is no such file; give vocab.txt or a .model")
    content = path.read_bytes()
    if not content:
        raise InputError(f"{path} is empty; give vocab.txt or a SentencePiece .model")
    if path.suffix == ".model":
        return sentencepiece(content, name=path)
    return wordpiece(content, cased=cased, name=path)


def wordpiece(content, *, cased=False, name="vocab.txt"):
    """Builds the tokenizer of a WordPiece vocabulary, which has one token per line."""
    import tokenizers

    tokens = _lines(content, name)
    appended = tuple(token for token in SPECIAL if token not in set(tokens))
    tokens += appended
    table = {token: number for number, token in enumerate(tokens)}
    # Special tokens are not registered with the tokenizer: "[MASK]" in a text is plain text.
    model = tokenizers.models.WordPiece(
        table, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=not cased)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()

    def encode_flat(sentences):
        encodings = tokenizer.encode_batch_fast(list(sentences), add_special_tokens=False)
        return _flat([encoding.ids for encoding in encodings])

    starts = np.array([not token.startswith("##") for token in tokens])
    return Tokenizer(
        kind="wordpiece",
        cased=cased,
        tokens=tokens,
        vocab=_vocab(starts, {token: table[token] for token in SPECIAL}),
        hash=_hash("wordpiece", cased, tokens),
        content="".join(f"{token}\n" for token in tokens).encode(),
        appended=appended,
        encode_flat=encode_flat,
    )


def basic_tokens(text, *, cased=False):
    """Words and punctuation marks of a text, normalised, as before the split into wordpieces.

    The `BasicTokenizer` of Google's code (Devlin et al., 2019).
    """
    import tokenizers

    normalized = tokenizers.normalizers.BertNormalizer(lowercase=not cased).normalize_str(text)
    words = tokenizers.pre_tokenizers.BertPreTokenizer().pre_tokenize_str(normalized)
    return [word for word, _ in words]


def sentencepiece(content, *, name="vocab.model"):
    """Builds the tokenizer of a SentencePiece model."""
    import sentencepiece as sp

    try:
        processor = sp.SentencePieceProcessor(model_proto=content)
    except RuntimeError:
        raise InputError(
            f"{name} is not a SentencePiece model; give a .model file of SentencePiece"
        ) from None
    tokens = [processor.id_to_piece(number) for number in range(processor.get_piece_size())]
    known = {token: number for number, token in enumerate(tokens)}
    known["[UNK]"] = processor.unk_id()
    size, special = len(tokens), {}
    for token in SPECIAL:
        special[token] = known.get(
            token, known.get(SENTENCEPIECE_NAMES.get(token), len(tokens))
        )
        if special[token] == len(tokens):
            tokens.append(token)

    def encode_flat(sentences):
        return _flat(processor.encode(list(sentences), out_type=int, num_threads=1))

    starts = np.array([token.startswith("▁") or _is_punctuation(token) for token in tokens])
    return Tokenizer(
        kind="sentencepiece",
        cased=True,
        tokens=tokens,
        vocab=_vocab(starts, special),
        hash=_hash("sentencepiece", hashlib.sha256(content).hexdigest(), tokens),
        content=content,
        appended=tuple(tokens[size:]),
        encode_flat=encode_flat,
    )


def _vocab(starts, special):
    is_special = np.zeros(len(starts), bool)
    is_special[list(special.values())] = True
    names = ("pad_id", "unk_id", "cls_id", "sep_id", "mask_id")
    ids = {name: int(special[token]) for name, token in zip(names, SPECIAL, strict=True)}
    return types.Vocab(size=len(starts), starts=starts, special=is_special, **ids)


def _flat(lists):
    lengths = np.fromiter(map(len, lists), np.int32, len(lists))
    ids = itertools.chain.from_iterable(lists)
    return np.fromiter(ids, np.int32, int(lengths.sum())), lengths


def _lines(content, name):
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError:
        raise InputError(f"{name} is not UTF-8 text; give vocab.txt or a .model file") from None
    tokens = [line.removesuffix("\r") for line in lines]
    if tokens and not tokens[-1]:
        tokens.pop()
    if not tokens:
        raise InputError(f"{name} is empty; give a vocabulary with one token per line")
    if len(set(tokens)) < len(tokens):
        counts = collections.Counter(tokens)
        repeated = next(token for token in tokens if counts[token] > 1)
        raise InputError(f"{name} lists the token {repeated!r} twice; remove one of the lines")
    return tokens


def _is_punctuation(token):
    # As in WordPiece, where every punctuation mark is a separate word.
    return all(unicodedata.category(letter)[0] in "PS" for letter in token)


def _hash(*content):
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
