"""Tests of sentence pairs against BERT's data preparation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequence_plans import num_tokens

from bertgrow.data.sequences import pairs, streams


@settings(max_examples=40, deadline=None)
@given(
    documents=st.lists(
        st.lists(st.integers(1, 40), min_size=1, max_size=20), min_size=2, max_size=8
    ),
    seed=st.integers(0, 99),
)
def test_segments_are_ranges_of_one_document_and_fit(documents, seed):
    lengths = [size for document in documents for size in document]
    owner = np.repeat(np.arange(len(documents)), [sum(document) for document in documents])

    plan = pairs.pair(lengths, [len(d) for d in documents], length=32, seed=seed)

    assert len(plan) >= len(documents)
    assert (num_tokens(plan) <= 32).all() and (plan.size > 0).all()
    first, last = owner[plan.source], owner[plan.source + plan.size - 1]
    assert (first == last).all()
    first = first.reshape(-1, 2)
    # Random: another document. Else: the text that follows in the same document.
    assert ((first[:, 0] != first[:, 1]) == (plan.is_random == 1)).all()
    after = plan.source[1::2] - (plan.source[::2] + plan.size[::2])
    assert (after[plan.is_random == 0] >= 0).all()


def test_half_of_the_second_segments_are_random():
    # Short sentences, so that nearly every gathered chunk has several.
    plan = pairs.pair([5] * 100_000, [1000] * 100, length=128, seed=0)

    assert abs(plan.is_random.mean() - 0.5) < 0.02  # some 8,000 rows: three deviations


def test_one_document_in_ten_has_short_rows():
    plan = pairs.pair([5] * 200_000, [100] * 2000, length=128, seed=0)
    owner = plan.source[::2] // 500
    longest = np.zeros(2000)
    np.maximum.at(longest, owner, num_tokens(plan))

    # A target under 105 shows: no sequence of the document is longer than it by a sentence.
    short = (longest < 110).mean()
    assert 0.06 < short < 0.11


def test_the_longer_segment_is_cut_at_either_end():
    cut = [pairs.pair([40, 10], [1, 1], length=33, seed=seed) for seed in range(20)]

    for plan in cut:
        assert plan.size[:2].sum() <= 30
        assert plan.size[1] == 10  # the shorter one stays whole
    starts = {int(plan.source[0]) for plan in cut}
    assert len(starts) > 3 and min(starts) >= 0


def test_rows_are_cls_a_sep_b_sep_with_types(small_store):
    stream = streams.Stream([small_store], length=64, seed=0, kind="pairs")
    vocab = stream.vocab
    batch = stream.read(stream.take(stream.start(), 200)[0])

    assert set(batch) == {"tokens", "types", "ids", "is_random"}
    assert {str(array.dtype) for name, array in batch.items() if name != "ids"} == {"int32"}
    for tokens, types in zip(batch["tokens"], batch["types"], strict=True):
        first, second = np.flatnonzero(tokens == vocab.sep_id)
        assert tokens[0] == vocab.cls_id
        assert 1 < first < second - 1
        assert (tokens[second + 1 :] == vocab.pad_id).all()
        assert (types == [0] * (first + 1) + [1] * (second - first) + [0] * (63 - second)).all()
    assert 0.3 < batch["is_random"].mean() < 0.8


@pytest.mark.slow
def test_padding_of_pairs_of_an_encyclopedia_is_that_of_bert(real_data, tmp_path):
    from bertgrow.data.corpus import prepare

    vocab = real_data / "vocab" / "bert-base-uncased-vocab.txt"
    text = real_data / "wikipedia_en" / "train-00.txt.xz"
    store = prepare.prepare([str(text)], tmp_path / "store", vocab=vocab)
    counts = np.diff(store.train.documents)

    def padding(length):
        plan = pairs.pair(store.train.sentences, counts, length=length, seed=0)
        return 1 - num_tokens(plan).mean() / length

    # About 8 and 23 % in BERT; articles differ in length, and one in ten draws a short target.
    assert padding(128) == pytest.approx(0.08, abs=0.02)
    assert padding(512) == pytest.approx(0.23, abs=0.04)
