"""Tests of inputs that are damaged, or no text: refused in one line, or read whole."""

import bad_files
import pytest
from made_text import make_text

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import chunks, prepare, sources

INPUTS = [
    *bad_files.archives(),
    *bad_files.texts(),
    *bad_files.json_lines(),
    *bad_files.tables(),
]


def named(cases):
    return [pytest.param(*case, id=case[0]) for case in cases]


def prepared(path, folder, **options):
    options = dict(vocab_size=300, vocab_kind="wordpiece", workers=1) | options
    return prepare.prepare([str(path)], folder / "store", **options)


def assert_refused(call, message):
    with pytest.raises(InputError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(make_text(60))
    return path


@pytest.mark.parametrize("name, content, message", named(INPUTS))
def test_an_input_is_read_whole_or_refused(tmp_path, monkeypatch, name, content, message):
    monkeypatch.setattr(sources, "LONGEST_LINE", 2**16)
    path = tmp_path / name
    path.write_bytes(content)
    bad, _ = chunks.bad_byte_handler("stop")

    def documents():
        return [raw for source in sources.find([str(path)]) for raw in source.raw(bad)]

    if message is None:
        text = "\n\n".join(documents())
        assert text in ("One.", bad_files.TEXT.decode().strip())
    else:
        assert_refused(documents, message)


@pytest.mark.parametrize("name", ["utf-16.txt", "nul.txt", "surrogate.jsonl", "latin-1.txt"])
def test_documents_that_are_not_text_can_be_skipped(tmp_path, name):
    contents = {case[0]: case[1] for case in INPUTS}
    path = tmp_path / name
    path.write_bytes(contents[name])
    bad, skipped = chunks.bad_byte_handler("skip")

    assert_refused(
        lambda: [list(s.raw(bad)) for s in sources.find([str(path)])], "no usable text"
    )
    assert skipped


@pytest.mark.parametrize("name, content, message", named(bad_files.vocabularies()))
def test_a_vocabulary_is_whole_or_refused(text, tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)

    assert_refused(lambda: prepared(text, tmp_path, vocab=path, strict=True), message)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("size", [0, -5, 63, 2**20 + 1, 10**12])
def test_a_size_of_the_vocabulary_without_sense_is_refused(text, tmp_path, size):
    assert_refused(
        lambda: prepared(text, tmp_path, vocab_size=size), f"--vocab-size {size}: expected"
    )


def without_spaces(text):
    return text.replace(" ", "")


def without_line_ends(text):
    return text.replace("\n", " ") * 2


def same(text):
    return text


@pytest.mark.parametrize(
    "change, options, message",
    [
        (without_spaces, {}, "a word of the text has .* characters on average"),
        (without_line_ends, {}, "of the text is in lines of more than 65,536 characters"),
        (same, dict(language="zz"), "--language zz: the sentence splitter has no rules for it"),
        (same, dict(vocab_size=30_000, vocab_kind="unigram"), "tokens, expected 30,000"),
    ],
)
def test_text_of_no_use_is_one_warning_and_an_error_if_strict(
    tmp_path, capsys, change, options, message
):
    path = tmp_path / "text.txt"
    documents = [change(make_text(60, seed=seed)) for seed in range(4)]
    path.write_text("\n\n".join(documents))

    assert_refused(lambda: prepared(path, tmp_path, strict=True, **options), message)
    assert not (tmp_path / "store" / "store.json").exists()
    prepared(path, tmp_path, **options)

    lines = capsys.readouterr().err.splitlines()
    (warning,) = [line for line in lines if line.startswith("warning: ")]
    assert_refused(lambda: prepared(path, tmp_path, strict=True, **options), message)
    prepared(path, tmp_path, **options)
    assert warning in capsys.readouterr().err.splitlines()  # of a finished store, too


@pytest.mark.parametrize("kind", ["unigram", "bpe", "wordpiece"])
def test_a_text_that_gives_no_vocabulary_is_refused(tmp_path, kind):
    path = tmp_path / "text.txt"
    path.write_text("a" * 100_000)

    assert_refused(
        lambda: prepared(path, tmp_path, vocab_kind=kind),
        "no sentences of usual length|has 5 tokens, expected at least 64",
    )


def test_a_folder_with_other_files_is_refused_and_keeps_them(text, tmp_path):
    assert_refused(
        lambda: prepare.prepare([str(text)], tmp_path), "other files, such as text.txt"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
