"""Tests of opening a token store, its metadata and damage detection."""

import json
import pickle
import shutil

import numpy as np
import pytest

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import metadata, store


@pytest.fixture
def copy(small_store, tmp_path):
    return shutil.copytree(small_store.folder, tmp_path / "copy")


def test_counts_agree_with_the_files(small_store):
    for name in ("train", "held_out"):
        split, about = getattr(small_store, name), small_store.meta["splits"][name]
        tokens = np.concatenate(split.read(range(len(split))))

        assert about["documents"] == len(split)
        assert about["sentences"] == len(split.sentences) == split.documents[-1]
        assert about["tokens"] == len(tokens) == split.sentences.sum() == split.sizes.sum()
        assert (np.bincount(tokens, minlength=500) == split.unigrams).all()


def test_documents_are_read_in_the_order_asked_for(small_store):
    split = small_store.train
    documents = split.read(range(len(split)))

    selected = split.read([7, 3, 3, 100])

    for tokens, number in zip(selected, [7, 3, 3, 100], strict=True):
        assert tokens.tolist() == documents[number].tolist()
        assert len(tokens) == split.sizes[number]


def test_a_store_travels_to_another_process(small_store):
    small_store.train.read([0])  # with a reader open and a tokenizer loaded
    assert small_store.vocab.size == 500

    copy = pickle.loads(pickle.dumps(small_store))

    assert copy.train.read([5])[0].tolist() == small_store.train.read([5])[0].tolist()
    assert copy.vocab.size == 500


def test_unigram_cross_entropy_is_that_of_add_one_frequencies(small_store):
    train = np.concatenate(small_store.train.read(range(len(small_store.train))))
    held_out = np.concatenate(small_store.held_out.read(range(len(small_store.held_out))))
    ordinary = [n for n in range(500) if n >= 5]
    train, held_out = train[train >= 5], held_out[held_out >= 5]
    chance = {n: ((train == n).sum() + 1) / (len(train) + len(ordinary)) for n in ordinary}

    expected = -np.mean([np.log(chance[n]) for n in held_out])

    # Sums of float64 in another order.
    np.testing.assert_allclose(store.unigram_cross_entropy(small_store), expected, rtol=1e-12)


def test_a_file_cut_short_or_missing_is_found_on_opening(copy):
    path = copy / "train.sentences.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="train.sentences.npy"):
        store.Store(copy)

    path.unlink()
    with pytest.raises(InputError, match="no file, expected"):
        store.Store(copy)


@pytest.mark.parametrize(
    "change, message",
    [(dict(version=99), "version 99, expected 1"), (dict(format="?"), "not describe a token")],
)
def test_another_version_or_format_is_refused(copy, change, message):
    meta = json.loads((copy / "store.json").read_text())
    (copy / "store.json").write_text(json.dumps({**meta, **change}))

    with pytest.raises(InputError, match=message):
        store.Store(copy)


def test_a_vocabulary_that_does_not_match_is_told_with_both_hashes(copy):
    meta = json.loads((copy / "store.json").read_text())
    meta["vocab"]["hash"] = "0" * 64
    meta["checksum"] = metadata.checksum(meta)
    (copy / "store.json").write_text(json.dumps(meta))
    opened = store.Store(copy)

    with pytest.raises(InputError, match="hash [0-9a-f]{12}, .* made with [0-9a-f]{12}"):
        opened.vocab  # noqa: B018
