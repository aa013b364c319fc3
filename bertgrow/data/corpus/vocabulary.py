"""Vocabularies and their tokenizers.

WordPiece files (`vocab.txt`) use `tokenizers` and give the ids of Google's tokenizer (Devlin
et al., 2019). `.model` files use SentencePiece.
"""

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
FOREIGN = {"[PAD]": "<pad>", "[UNK]": "<unk>"}  # their names in other SentencePiece models
LONGEST_WORD = 200  # characters; Google's limit (the default of `tokenizers` is 100)


class Tokenizer(NamedTuple):
    """A vocabulary with its tokenizer. `content` holds the bytes of the file for `load`."""

    kind: str  # "wordpiece" or "sentencepiece"
    cased: bool
    pieces: list
    vocab: types.Vocab
    hash: str  # sha256 of all that determines the ids
    content: bytes
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
    if path.suffix == ".model":
        return sentencepiece(content, name=path)
    return wordpiece(content, cased=cased, name=path)


def wordpiece(content, *, cased=False, name="vocab.txt"):
    """Builds the tokenizer of a WordPiece vocabulary, which has one token per line."""
    import tokenizers

    pieces = _lines(content, name)
    pieces += [piece for piece in SPECIAL if piece not in set(pieces)]
    table = {piece: number for number, piece in enumerate(pieces)}
    # Special tokens are not registered with the tokenizer: "[MASK]" in a text is plain text.
    model = tokenizers.models.WordPiece(
        table, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=not cased)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()

    def encode_flat(sentences):
        found = tokenizer.encode_batch_fast(list(sentences), add_special_tokens=False)
        return _flat([encoding.ids for encoding in found])

    starts = np.array([not piece.startswith("##") for piece in pieces])
    return Tokenizer(
        kind="wordpiece",
        cased=cased,
        pieces=pieces,
        vocab=_vocab(starts, {piece: table[piece] for piece in SPECIAL}),
        hash=_hash("wordpiece", cased, pieces),
        content="".join(f"{piece}\n" for piece in pieces).encode(),
        encode_flat=encode_flat,
    )


def sentencepiece(content, *, name="vocab.model"):
    """Builds the tokenizer of a SentencePiece model."""
    import sentencepiece as sp

    try:
        processor = sp.SentencePieceProcessor(model_proto=content)
    except RuntimeError as error:
        raise InputError(f"{name} is not a SentencePiece model: {error}") from None
    pieces = [processor.id_to_piece(number) for number in range(processor.get_piece_size())]
    known = {piece: number for number, piece in enumerate(pieces)}
    known["[UNK]"] = processor.unk_id()
    special = {}
    for piece in SPECIAL:
        special[piece] = known.get(piece, known.get(FOREIGN.get(piece), len(pieces)))
        if special[piece] == len(pieces):
            pieces.append(piece)

    def encode_flat(sentences):
        return _flat(processor.encode(list(sentences), out_type=int, num_threads=1))

    starts = np.array([piece.startswith("▁") or _is_punctuation(piece) for piece in pieces])
    return Tokenizer(
        kind="sentencepiece",
        cased=True,
        pieces=pieces,
        vocab=_vocab(starts, special),
        hash=_hash("sentencepiece", hashlib.sha256(content).hexdigest(), pieces),
        content=content,
        encode_flat=encode_flat,
    )


def _vocab(starts, special):
    is_special = np.zeros(len(starts), bool)
    is_special[list(special.values())] = True
    names = ("pad_id", "unk_id", "cls_id", "sep_id", "mask_id")
    ids = {name: int(special[piece]) for name, piece in zip(names, SPECIAL, strict=True)}
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
    pieces = [line.removesuffix("\r") for line in lines]
    if pieces and not pieces[-1]:
        pieces.pop()
    if not pieces:
        raise InputError(f"{name} is empty; give a vocabulary with one piece a line")
    if len(set(pieces)) < len(pieces):
        seen = set()
        twice = next(piece for piece in pieces if piece in seen or seen.add(piece))
        raise InputError(f"{name} lists the piece {twice!r} twice; a piece needs one id")
    return pieces


def _is_punctuation(piece):
    # As in WordPiece, where every punctuation mark is a separate word.
    return all(unicodedata.category(letter)[0] in "PS" for letter in piece)


def _hash(*content):
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
