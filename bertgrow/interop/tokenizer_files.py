"""Reads and writes the vocabulary files of a Hugging Face folder."""

from pathlib import Path

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import vocabulary
from bertgrow.interop import sentencepiece_json
from bertgrow.interop.pretrained import read_json, write_json

FILES = ("vocab.txt", "vocab.model", "tokenizer.json")  # in the order of the search


def read(folder, *, vocab=None, cased=None):
    """Makes the tokenizer of a folder.

    Args:
      folder: with `vocab.txt` or `tokenizer.json`, and perhaps `tokenizer_config.json`.
      vocab: file to use instead.
      cased: whether letters keep their case; None: as the folder's files say, else not.

    Returns:
      `vocabulary.Tokenizer`, and the file that it is from.
    """
    folder = Path(folder)
    cased = _is_cased(folder) if cased is None else cased
    if vocab:
        return vocabulary.load(vocab, cased=cased), Path(vocab)
    for name in FILES:
        path = folder / name
        if path.is_file() and name != "tokenizer.json":
            return vocabulary.load(path, cased=cased), path
        if path.is_file():
            content = "".join(f"{token}\n" for token in _tokens(path)).encode()
            return vocabulary.wordpiece(content, cased=cased, name=path), path
    raise InputError(
        f"{folder} has no vocabulary: looked for {', '.join(FILES)}; put one "
        "there, or give it to `bertgrow import --vocab`"
    )


def _tokens(path):
    """The tokens of a `tokenizer.json`, in the order of their ids."""
    model = read_json(path).get("model", {})
    table = model.get("vocab")
    if model.get("type") != "WordPiece" or not isinstance(table, dict):
        raise InputError(
            f"{path} has a model of type {model.get('type')!r}; expected WordPiece: put a "
            "vocab.txt there, or give `bertgrow import --vocab` a SentencePiece .model"
        )
    if sorted(table.values()) != list(range(len(table))):
        raise InputError(f"{path}: the ids of its vocabulary are not 0 to {len(table) - 1}")
    return sorted(table, key=table.get)


def _is_cased(folder):
    known = folder / "tokenizer_config.json"
    if known.is_file() and "do_lower_case" in (fields := read_json(known)):
        return not fields["do_lower_case"]
    known = folder / "tokenizer.json"
    normalizer = read_json(known).get("normalizer") if known.is_file() else None
    return not (normalizer or {}).get("lowercase", True)


def write(folder, tokenizer, *, max_length):
    """Writes the vocabulary, `tokenizer.json` and `tokenizer_config.json`.

    Raises InputError for a SentencePiece model that is not unigram.
    """
    folder, is_wordpiece = Path(folder), tokenizer.kind == "wordpiece"
    content = tokenizer_json(tokenizer)
    (folder / tokenizer.file_name).write_bytes(tokenizer.content)
    write_json(folder / "tokenizer.json", content)
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    config = dict(zip(names, _special_tokens(tokenizer), strict=True)) | dict(
        tokenizer_class="BertTokenizer" if is_wordpiece else "PreTrainedTokenizerFast",
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    if is_wordpiece:
        config["do_lower_case"] = not tokenizer.cased
    write_json(folder / "tokenizer_config.json", config)


def _special_tokens(tokenizer):
    """Padding, unknown, class, separator and mask, by the names in the vocabulary."""
    return [tokenizer.tokens[number] for number in tokenizer.vocab[1:6]]


def tokenizer_json(tokenizer):
    """The tokenizer as the package `tokenizers` writes it, with [CLS] and [SEP] around."""
    specials = _special_tokens(tokenizer)
    ids = dict(zip(specials, tokenizer.vocab[1:6], strict=True))
    cls, sep = specials[2:4]
    make = _wordpiece if tokenizer.kind == "wordpiece" else sentencepiece_json.parts
    added = [
        dict(id=number, content=token, special=True, single_word=False, lstrip=False,
             rstrip=False, normalized=False)
        for token, number in sorted(ids.items(), key=lambda pair: pair[1])
    ]  # fmt: skip
    return dict(
        version="1.0",
        truncation=None,
        padding=None,
        added_tokens=added,
        post_processor=dict(
            type="TemplateProcessing",
            single=[_special(cls, 0), _sequence("A", 0), _special(sep, 0)],
            pair=[
                _special(cls, 0), _sequence("A", 0), _special(sep, 0),
                _sequence("B", 1), _special(sep, 1),
            ],
            special_tokens={
                token: dict(id=token, ids=[ids[token]], tokens=[token]) for token in (cls, sep)
            },
        ),
        **make(tokenizer),
    )  # fmt: skip


def _wordpiece(tokenizer):
    """The entries of a WordPiece vocabulary."""
    return dict(
        normalizer=dict(
            type="BertNormalizer", clean_text=True, handle_chinese_chars=True,
            strip_accents=None, lowercase=not tokenizer.cased,
        ),
        pre_tokenizer=dict(type="BertPreTokenizer"),
        decoder=dict(type="WordPiece", prefix="##", cleanup=True),
        model=dict(
            type="WordPiece", unk_token="[UNK]", continuing_subword_prefix="##",
            max_input_chars_per_word=vocabulary.LONGEST_WORD,
            vocab={token: number for number, token in enumerate(tokenizer.tokens)},
        ),
    )  # fmt: skip


def _special(token, type_id):
    return dict(SpecialToken=dict(id=token, type_id=type_id))


def _sequence(name, type_id):
    return dict(Sequence=dict(id=name, type_id=type_id))
