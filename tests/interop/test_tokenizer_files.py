"""Tests of exported tokenizers: equal ids on real text, and the same vocabulary back."""

import json
import lzma

import pretrained_models as small
import pytest
import tokenizers
from tokenizers import Tokenizer

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import vocabulary, vocabulary_training
from bertgrow.inference import texts
from bertgrow.interop import tokenizer_files

TRAPS = [
    "  double  spaces  ", "tab\there\u00a0and there", "naïve café ﬁ ½ ①", "日本語 text",
    "😀 emoji", "a [UNKNOWN] b", "don't, really!", "", " ", "ÅNGSTRÖM İstanbul",
]  # fmt: skip


def exported_ids(tokenizer, lines):
    exported = Tokenizer.from_str(json.dumps(tokenizer_files.tokenizer_json(tokenizer)))
    return [encoding.ids for encoding in exported.encode_batch(lines)]


def assert_ids_equal(tokenizer, lines):
    expected = [row.tolist() for row in texts.encode(tokenizer, lines)]

    assert exported_ids(tokenizer, lines) == expected


@pytest.fixture(scope="module")
def prose(text_file):
    return text_file.read_text("utf-8").splitlines()[:400] + TRAPS


@pytest.mark.parametrize(
    "kind, cased", [("unigram", False), ("unigram", True), ("wordpiece", False)]
)
def test_a_trained_vocabulary_gives_equal_ids(kind, cased, prose):
    assert_ids_equal(vocabulary_training.train(prose, size=200, kind=kind, cased=cased), prose)


@pytest.mark.parametrize(
    "name", ["bert-base-uncased-vocab.txt", "t5_cc_all_32000_100extra.model",
             "sentencepiece_test_unigram1000.model"],
)  # fmt: skip
def test_a_real_vocabulary_gives_equal_ids_on_real_text(name, real_data):
    with lzma.open(real_data / "wikipedia_en" / "valid.txt.xz", "rt", encoding="utf-8") as f:
        lines = [line.strip() for line in f if line.strip()][:500]

    assert_ids_equal(vocabulary.load(real_data / "vocab" / name), lines + TRAPS)


def test_a_pair_has_both_separators():
    tokenizer = small.tokenizer()

    exported = Tokenizer.from_str(json.dumps(tokenizer_files.tokenizer_json(tokenizer)))
    pair = exported.encode("the file", "a [MASK]")

    assert pair.tokens == ["[CLS]", "the", "file", "[SEP]", "a", "[MASK]", "[SEP]"]
    assert pair.type_ids == [0, 0, 0, 0, 1, 1, 1]


def test_bpe_models_are_refused_with_the_reason(prose, tmp_path):
    bpe = vocabulary_training.train(prose, size=200, kind="bpe")

    with pytest.raises(InputError, match="not unigram.*use --to bertgrow"):
        tokenizer_files.write(tmp_path, bpe, max_length=32)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cased", [False, True])
@pytest.mark.parametrize("gone", [(), ("vocab.txt",), ("vocab.txt", "tokenizer_config.json")])
def test_a_vocabulary_comes_back_from_each_of_its_files(cased, gone, tmp_path):
    tokenizer = small.tokenizer(cased=cased)
    tokenizer_files.write(tmp_path, tokenizer, max_length=32)
    for name in gone:
        (tmp_path / name).unlink()

    actual, _ = tokenizer_files.read(tmp_path)

    assert (actual.hash, actual.cased) == (tokenizer.hash, cased)


def test_a_tokenizer_of_another_kind_is_refused(tmp_path):
    model = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))
    model.save(str(tmp_path / "tokenizer.json"))

    with pytest.raises(InputError, match="type 'BPE'; expected WordPiece"):
        tokenizer_files.read(tmp_path)


def test_a_folder_without_a_vocabulary_is_answered_with_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match="looked for vocab.txt, vocab.model, tokenizer.json"):
        tokenizer_files.read(tmp_path)
