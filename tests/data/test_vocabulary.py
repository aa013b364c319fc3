"""Tests of tokenizers against Google's and SentencePiece's, and of reproducible training."""

import json
import lzma
from pathlib import Path

import google_rewrite as google
import numpy as np
import pytest
from made_text import make_text

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import vocabulary, vocabulary_training

GOLDENS = json.loads((Path(__file__).parent / "wordpiece_goldens.json").read_text("utf-8"))


def json_lines(path):
    with lzma.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def tokens_of(tokenizer, text):
    return [tokenizer.tokens[number] for number in tokenizer.encode([text])[0]]


def wordpiece(tokens, **options):
    return vocabulary.wordpiece("\n".join(tokens).encode(), **options)


@pytest.mark.parametrize("case", GOLDENS["cases"], ids=lambda case: case["text"][:20])
def test_wordpiece_gives_the_golden_tokens(case):
    tokenizer = wordpiece(GOLDENS["vocab"], cased=case["cased"])

    assert tokens_of(tokenizer, case["text"]) == case["pieces"]


@pytest.mark.parametrize("case", GOLDENS["cases"], ids=lambda case: case["text"][:20])
def test_the_goldens_are_those_of_the_plain_rewrite_of_googles_tokenizer(case):
    tokens = google.tokens(case["text"], set(GOLDENS["vocab"]), lower=not case["cased"])

    assert tokens == case["pieces"]


def test_every_question_has_googles_ids(real_data):
    tokenizer = vocabulary.load(real_data / "vocab" / "bert-base-uncased-vocab.txt")
    folder = real_data / "fixtures" / "hf_question_tokens"
    rows = json_lines(folder / "squad_dev_questions_tokens.jsonl.xz")

    encoded = tokenizer.encode([row["text"] for row in rows])

    assert [ids.tolist() for ids in encoded] == [row["ids"] for row in rows]


def test_every_wordpiece_golden_has_its_ids(real_data):
    tokenizer = vocabulary.load(real_data / "vocab" / "bert-base-uncased-vocab.txt")
    rows = json_lines(real_data / "fixtures" / "wordpiece_goldens" / "goldens.jsonl.xz")

    encoded = tokenizer.encode([row["text"] for row in rows])

    assert [[101, *ids.tolist(), 102] for ids in encoded] == [row["ids"] for row in rows]


def test_googles_own_cases_hold(real_data):
    path = real_data / "fixtures" / "google_bert" / "tokenization_cases.json"
    cases = json.loads(path.read_text("utf-8"))

    full = cases["full_tokenizer"]
    tokenizer = wordpiece(full["vocab"], cased=not full["do_lower_case"])
    for case in full["cases"]:
        assert tokenizer.encode([case["text"]])[0].tolist() == case["ids"]
    for case in cases["basic_tokenizer"]:
        words = list(dict.fromkeys(case["tokens"]))
        tokenizer = wordpiece(words, cased=not case["do_lower_case"])
        assert tokens_of(tokenizer, case["text"]) == case["tokens"]
    tokenizer = wordpiece(cases["wordpiece_tokenizer"]["vocab"], cased=True)
    for case in cases["wordpiece_tokenizer"]["cases"]:
        assert tokens_of(tokenizer, case["text"]) == case["tokens"]
    table = cases["convert_tokens_to_ids"]
    tokenizer = wordpiece(table["vocab"])
    for case in table["cases"]:
        assert [tokenizer.tokens.index(token) for token in case["tokens"]] == case["ids"]


def test_characters_have_googles_classes(real_data):
    path = real_data / "fixtures" / "google_bert" / "tokenization_cases.json"
    cases = json.loads(path.read_text("utf-8"))
    tokenizer = wordpiece(["x", "xx", "##x", *cases["is_punctuation"]["true"]], cased=True)

    for letter in cases["is_whitespace"]["true"]:
        assert tokens_of(tokenizer, f"x{letter}x") == ["x", "x"]
    for letter in cases["is_control"]["true"]:
        assert tokens_of(tokenizer, f"x{letter}x") == ["xx"]
    for letter in cases["is_punctuation"]["true"]:
        assert tokens_of(tokenizer, f"x{letter}x") == ["x", letter, "x"]
    for letter in ["A", "\U0001f4a9"]:  # neither white space nor control nor punctuation
        assert tokens_of(tokenizer, f"x{letter}x") == ["[UNK]"]


@pytest.mark.parametrize("line", range(3))
def test_every_sentencepiece_golden_has_its_ids(real_data, line):
    rows = json_lines(real_data / "fixtures" / "sentencepiece_goldens" / "goldens.jsonl.xz")
    name = [key for key in rows[0] if key != "text"][line]
    tokenizer = vocabulary.load(real_data / "vocab" / f"{name}.model")

    encoded = tokenizer.encode([row["text"] for row in rows])

    assert [ids.tolist() for ids in encoded] == [row[name]["ids"] for row in rows]


@pytest.mark.parametrize(
    "name, size, ids",
    [
        # (pad, unk, cls, sep, mask): what the model has keeps its id, the rest comes last.
        ("sentencepiece_test_unigram1000", 1004, (1000, 0, 1001, 1002, 1003)),
        ("t5_cc_all_32000_100extra", 32104, (0, 3, 32101, 32102, 32103)),
        ("axlearn_bpe_32k_c4", 32003, (0, 2, 32000, 32001, 32002)),
    ],
)
def test_foreign_models_get_the_special_tokens_that_they_lack(real_data, name, size, ids):
    vocab = vocabulary.load(real_data / "vocab" / f"{name}.model").vocab

    assert vocab.size == len(vocab.starts) == size
    assert vocab[1:6] == ids
    assert np.flatnonzero(vocab.special).tolist() == sorted(ids)


@pytest.mark.slow
def test_an_encyclopedia_is_tokenised_as_by_the_plain_rewrite(real_data):
    tokenizer = vocabulary.load(real_data / "vocab" / "bert-base-uncased-vocab.txt")
    with lzma.open(real_data / "wikipedia_en" / "valid.txt.xz", "rt", encoding="utf-8") as f:
        lines = [line.strip() for line in f if line.strip()]
    vocab = set(tokenizer.tokens)

    wrong = [
        line
        for line, ids in zip(lines, tokenizer.encode(lines), strict=True)
        if [tokenizer.tokens[number] for number in ids] != google.tokens(line, vocab, True)
    ]

    assert not wrong


def test_the_name_of_a_special_token_in_a_text_is_ordinary_text():
    tokens = [*vocabulary.SPECIAL, "[", "]", "mask", "sep"]

    assert tokens_of(wordpiece(tokens), "[MASK] [SEP]") == ["[", "mask", "]", "[", "sep", "]"]


def test_words_of_101_to_200_letters_are_tokenised_and_longer_ones_unknown():
    tokenizer = wordpiece(["a", "##a"])

    assert len(tokens_of(tokenizer, "a" * 200)) == 200
    assert tokens_of(tokenizer, "a" * 201) == ["[UNK]"]


@pytest.mark.parametrize("kind", vocabulary_training.KINDS)
def test_training_is_repeatable_and_begins_with_the_special_tokens(kind):
    sentences = make_text(60).split("\n")

    first, second = (
        vocabulary_training.train(sentences, size=200, kind=kind) for _ in range(2)
    )

    assert first.hash == second.hash and first.content == second.content
    assert first.tokens[:5] == list(vocabulary.SPECIAL)
    assert first.vocab[:6] == (200, 0, 1, 2, 3, 4)
    assert len(first.tokens) == 200


@pytest.mark.parametrize("kind", vocabulary_training.KINDS)
def test_a_trained_vocabulary_reads_back_the_same(kind, tmp_path):
    trained = vocabulary_training.train(make_text(60).split("\n"), size=200, kind=kind)
    path = tmp_path / trained.file_name
    path.write_bytes(trained.content)

    loaded = vocabulary.load(path)

    assert loaded.hash == trained.hash
    text = ["Badekin tugor.", "", "Zo!"]
    for ids, expected in zip(loaded.encode(text), trained.encode(text), strict=True):
        assert ids.tolist() == expected.tolist()
    assert not (np.concatenate(loaded.encode(["Bade kin tu."])) == 1).any()


@pytest.mark.parametrize("kind", vocabulary_training.KINDS)
def test_uncased_ignores_case_and_cased_does_not(kind):
    sentences = make_text(60).split("\n")
    for cased in (False, True):
        tokenizer = vocabulary_training.train(sentences, size=200, kind=kind, cased=cased)
        upper, lower = tokenizer.encode(["Badekin Tugor", "badekin tugor"])
        assert (upper.tolist() == lower.tolist()) is not cased


def test_words_start_where_wordpiece_and_sentencepiece_say():
    tokenizer = wordpiece([*vocabulary.SPECIAL, "un", "##want", ","])
    assert tokenizer.vocab.starts.tolist() == [True] * 6 + [False, True]

    tokenizer = vocabulary_training.train(make_text(60).split("\n"), size=200)
    ids = tokenizer.encode(["bade kin, tu."])[0]
    text = [tokenizer.tokens[number] for number in ids]
    for token, starts in zip(text, tokenizer.vocab.starts[ids], strict=True):
        assert starts == (token.startswith("▁") or token in ",.")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("vocab.txt", b"", "is empty"),
        ("vocab.txt", b"a\nb\na\n", "'a' twice"),
        ("vocab.txt", b"\xff\xfe", "not UTF-8"),
        ("vocab.model", b"not a model", "not a SentencePiece model"),
    ],
)
def test_bad_vocabularies_are_refused_in_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(InputError, match=message):
        vocabulary.load(path)


@pytest.mark.parametrize("kind", vocabulary_training.KINDS)
def test_little_text_gives_a_smaller_vocabulary(kind):
    trained = vocabulary_training.train(["aba caba daba."] * 9, size=4000, kind=kind)

    assert 9 <= trained.vocab.size < 100


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_vocabulary_without_room_for_the_letters_is_one_clear_line(kind):
    letters = [chr(code) * 3 for code in range(0x400, 0x460)]

    with pytest.raises(InputError, match="--vocab-size 64"):
        vocabulary_training.train(letters, size=64, kind=kind, cased=True)
