"""A SentencePiece unigram model as a `tokenizer.json` of Hugging Face's tokenizers."""

import base64
import struct

from bertgrow.core.errors import InputError
from bertgrow.interop import protobuf

UNIGRAM = 1
BYTE = 6  # type of the tokens of byte fallback


def parts(tokenizer):
    """The entries `model`, `normalizer`, `pre_tokenizer` and `decoder`.

    Field numbers are those of sentencepiece_model.proto. Raises InputError for a model of
    another kind than unigram.
    """
    model = protobuf.fields(tokenizer.content)
    trainer, normal = (protobuf.fields(model.get(number, [b""])[0]) for number in (2, 3))
    if trainer.get(3, [UNIGRAM])[0] != UNIGRAM or not normal.get(3, [1])[0]:
        raise InputError(
            "the vocabulary is a SentencePiece model that is not unigram, or without a dummy "
            "prefix: Hugging Face has no tokenizer of it for BERT; use --to bertgrow"
        )
    pieces = [protobuf.fields(piece) for piece in model[1]]
    scores = [_score(piece) for piece in pieces]
    scores += [0.0] * (len(tokenizer.tokens) - len(scores))  # special tokens that it lacked
    has_bytes = any(piece.get(3, [1])[0] == BYTE for piece in pieces)
    charsmap = normal.get(2, [b""])[0]
    steps = [dict(type="Precompiled", precompiled_charsmap=_base64(charsmap))] * bool(charsmap)
    steps += [
        dict(type="Strip", strip_left=False, strip_right=True),
        dict(type="Replace", pattern=dict(Regex=" {2,}"), content="▁"),
    ]
    spaces = dict(type="Metaspace", replacement="▁", prepend_scheme="always", split=True)
    return dict(
        normalizer=dict(type="Sequence", normalizers=steps),
        pre_tokenizer=spaces,
        decoder=spaces,
        model=dict(
            type="Unigram",
            unk_id=tokenizer.vocab.unk_id,
            vocab=[list(pair) for pair in zip(tokenizer.tokens, scores, strict=True)],
            byte_fallback=has_bytes,
        ),
    )


def _score(piece):
    """The logarithm of the probability of a token, which the parser gives as an integer."""
    return struct.unpack("<f", piece.get(2, [0])[0].to_bytes(4, "little"))[0]


def _base64(content):
    return base64.b64encode(content).decode()
