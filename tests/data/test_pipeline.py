"""Tests of the Grain pipeline: sequences in order, no process left behind."""

import itertools
import signal
import subprocess

import numpy as np
import pytest
from made_text import make_text
from process_table import descendants, is_alive, start, wait_for

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import prepare, shards
from bertgrow.data.sequences import pipeline, streams


def stream(store, length=64, **options):
    return streams.Stream([store], length=length, seed=1, block_tokens=2**13, **options)


def first(iterator, number):
    with iterator:
        return list(itertools.islice(iterator, number))


def assert_same(batches, expected):
    for (batch, position), (other, other_position) in zip(batches, expected, strict=True):
        assert position == other_position
        for name in other:
            np.testing.assert_array_equal(batch[name], other[name])


def test_batches_are_the_sequences_of_the_stream_with_the_position_after_them(small_store):
    source = stream(small_store)
    batches = first(pipeline.batches(source, batch=16), 12)

    position = source.start()
    for batch, after in batches:
        addresses, position = source.take(position, 16)
        assert after == position
        for name, array in source.read(addresses).items():
            np.testing.assert_array_equal(batch[name], array)


def test_a_run_continues_from_any_position(small_store):
    whole = first(pipeline.batches(stream(small_store), batch=16), 12)
    position = whole[4][1]

    rest = first(pipeline.batches(stream(small_store), batch=16, position=position), 7)

    assert_same(rest, whole[5:])


def test_hosts_make_slices_of_the_same_batch(small_store):
    whole = first(pipeline.batches(stream(small_store), batch=16), 3)
    hosts = [
        first(pipeline.batches(stream(small_store), batch=16, rows=rows), 3)
        for rows in np.arange(16).reshape(4, 4)
    ]

    for number, (batch, position) in enumerate(whole):
        for name, array in batch.items():
            parts = [host[number][0][name] for host in hosts]
            np.testing.assert_array_equal(np.concatenate(parts), array)
        assert all(host[number][1] == position for host in hosts)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_give_the_same_batches(small_store, workers):
    expected = first(pipeline.batches(stream(small_store), batch=16), 9)

    batches = first(pipeline.batches(stream(small_store), batch=16, workers=workers), 9)

    assert_same(batches, expected)


SCRIPT = """
import sys, time
from bertgrow.data.corpus import store
from bertgrow.data.sequences import pipeline, streams

if __name__ == "__main__":
    source = streams.Stream([store.Store(sys.argv[1])], length=64, seed=1)
    batches = pipeline.batches(source, batch=8, workers=2)
    next(batches)
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_grain_workers_die_with_their_parent(small_store, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    process = start(tmp_path / "script.py", small_store.folder, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    children = descendants(process.pid)
    assert len(children) >= 2

    process.send_signal(signal.SIGKILL)
    process.wait()

    wait_for(lambda: not any(map(is_alive, children)))


def test_a_corpus_smaller_than_a_batch_is_one_clear_line(small_store):
    number = stream(small_store).epoch_sequences()

    first(pipeline.batches(stream(small_store), batch=number), 1)
    with pytest.raises(
        InputError, match=f"{number} sequences .* fewer than a batch of {number + 1}"
    ):
        pipeline.batches(stream(small_store), batch=number + 1)


@pytest.mark.parametrize("kind", streams.KINDS)
def test_held_out_batches_are_full_and_the_same_every_time(small_store, kind):
    one, two = (pipeline.held_out(small_store, length=64, batch=8, kind=kind) for _ in range(2))

    assert len(one) > 5
    for batch, other in zip(one, two, strict=True):
        assert batch["tokens"].shape == (8, 64)
        assert (batch["tokens"][:, 0] == small_store.vocab.cls_id).all()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])
    ids = np.concatenate([batch["ids"] for batch in one])
    assert len({tuple(pair) for pair in ids.tolist()}) == len(ids)


def test_held_out_sequences_hold_the_held_out_text(small_store):
    (batch,) = pipeline.held_out(small_store, length=64, batch=2000)
    vocab = small_store.vocab

    counts = np.bincount(batch["tokens"].reshape(-1), minlength=500)
    counts[[vocab.pad_id, vocab.cls_id, vocab.sep_id]] = 0

    assert (counts == small_store.held_out.unigrams).all()
    assert (batch["tokens"][-1] == vocab.pad_id).all()  # padding fills the batch


def test_the_number_of_held_out_batches_can_be_limited(small_store):
    full = pipeline.held_out(small_store, length=64, batch=8)

    some = pipeline.held_out(small_store, length=64, batch=8, limit=3)

    assert len(some) == 3
    for batch, other in zip(some, full, strict=False):
        np.testing.assert_array_equal(batch["tokens"], other["tokens"])


def test_pairs_need_two_held_out_documents(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MIN_DOCUMENTS", 1)  # as a store of an earlier version may be
    monkeypatch.setattr(shards, "MIN_TOKENS", 1)
    (tmp_path / "few.txt").write_text(make_text(5), "utf-8")
    store = prepare.prepare(
        [str(tmp_path / "few.txt")], tmp_path / "s", held_out=1e-9, vocab_size=100,
        vocab_kind="wordpiece", workers=1,
    )  # fmt: skip

    with pytest.raises(InputError, match="larger --held-out"):
        pipeline.held_out(store, length=64, batch=8, kind="pairs")
