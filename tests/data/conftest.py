"""Fixtures: a small corpus of generated text, and its stores."""

import pytest
from made_text import make_text

from bertgrow.data.corpus import prepare


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A text file of 300 documents, about 90,000 words."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text(make_text(300), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def small_store(corpus, tmp_path_factory):
    """The corpus as a token store with a WordPiece vocabulary of 500."""
    folder = tmp_path_factory.mktemp("small") / "store"
    return prepare.prepare(
        [str(corpus)], folder, vocab_size=500, vocab_kind="wordpiece", held_out=0.05, workers=1
    )


@pytest.fixture(scope="session")
def other_store(small_store, tmp_path_factory):
    """A second, smaller store with the vocabulary of the first."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "other.txt").write_text(make_text(60, seed=1), encoding="utf-8")
    vocab = small_store.folder / "vocab.txt"
    return prepare.prepare(
        [str(folder / "other.txt")], folder / "store", vocab=vocab, workers=1
    )
