"""Tests of `bertgrow prepare`: reproducible to the byte, resumable, clear errors."""

import argparse
import json
import signal
import time

import numpy as np
import pytest
import slow_prepare
from made_text import make_text
from process_table import descendants, is_alive, wait_for

from bertgrow.commands import prepare as prepare_command
from bertgrow.core import system_files
from bertgrow.core.errors import InputError
from bertgrow.data.corpus import chunks, parts, prepare, shards, store

OPTIONS = dict(vocab_size=300, vocab_kind="wordpiece", held_out=0.1)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Many parts and several shards, as a large corpus has."""
    monkeypatch.setattr(chunks, "CHARACTERS", 20_000)
    monkeypatch.setattr(shards, "SHARD_TOKENS", 2**15)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_two_runs_and_another_number_of_workers_give_the_same_bytes(corpus, tmp_path):
    folders = [tmp_path / name for name in ("once", "again", "two_workers")]
    for folder, workers in zip(folders, (1, 1, 2), strict=True):
        prepare.prepare([str(corpus)], folder, workers=workers, **OPTIONS)

    once, again, two = map(contents, folders)
    assert len([name for name in once if name.startswith("train-")]) > 1
    assert once == again
    assert once == two


def test_documents_go_where_their_hash_says_whatever_the_order_of_the_text(corpus, tmp_path):
    documents = corpus.read_text("utf-8").strip().split("\n\n")
    (tmp_path / "mixed.txt").write_text("\n\n".join(documents[::-1]), "utf-8")
    vocab = prepare.prepare([str(corpus)], tmp_path / "a", workers=1, **OPTIONS).folder
    vocab = vocab / "vocab.txt"

    for name, path in (("b", corpus), ("c", tmp_path / "mixed.txt")):
        prepare.prepare([str(path)], tmp_path / name, vocab=vocab, workers=1)

    b, c = contents(tmp_path / "b"), contents(tmp_path / "c")
    assert {**b, "store.json": b""} == {**c, "store.json": b""}


def test_the_store_holds_every_document_once_and_keeps_its_sentences(corpus, small_store):
    texts = corpus.read_text("utf-8").strip().split("\n\n")
    expected = []
    for text in texts:
        sentences = parts.sentences(text, "en")
        expected.append([ids.tolist() for ids in small_store.tokenizer.encode(sentences)])

    documents = []
    for split in (small_store.train, small_store.held_out):
        for number, tokens in enumerate(split.read(range(len(split)))):
            cut = split.sentences[split.documents[number] : split.documents[number + 1]]
            ends = cut.cumsum()
            documents.append(
                [tokens[e - s : e].tolist() for s, e in zip(cut, ends, strict=True)]
            )

    assert sorted(documents) == sorted(expected)


def test_a_fraction_of_the_documents_is_held_out_and_stays_on_its_side(corpus, tmp_path):
    small = prepare.prepare([str(corpus)], tmp_path / "small", workers=1, **OPTIONS)
    (tmp_path / "more.txt").write_text(make_text(100, seed=9), "utf-8")
    vocab = small.folder / "vocab.txt"
    inputs = [str(corpus), str(tmp_path / "more.txt")]
    large = prepare.prepare(inputs, tmp_path / "large", vocab=vocab, held_out=0.1, workers=1)

    def side(split):
        return {document.tobytes() for document in split.read(range(len(split)))}

    assert 15 <= len(small.held_out) <= 45  # 300 documents, a tenth
    assert side(small.held_out) <= side(large.held_out)
    assert side(small.train) <= side(large.train)


def sizes(split):
    return len(split), int(split.sizes.sum())


def test_enough_is_held_out_to_evaluate_a_smoke_recipe(corpus, tmp_path, capsys):
    """4,096 tokens: the documents with the smallest hashes, and no document more."""
    opened = prepare.prepare(
        [str(corpus)], tmp_path / "store", vocab_size=300, vocab_kind="wordpiece",
        held_out=1e-9, workers=1,
    )  # fmt: skip

    documents, tokens = sizes(opened.held_out)
    assert documents >= 2 and tokens >= 4096
    assert tokens - opened.held_out.sizes.max() < 4096
    said = capsys.readouterr().err.splitlines()
    assert f"held out: {documents} documents, {tokens:,} tokens" in said
    assert "by --held-out alone 0 documents; recipes need at least 2 and 4,096 tokens" in said


@pytest.mark.parametrize(
    "tokens, expected",
    [
        ([100, 5000, 5000, 9000], [True, True, False, False]),  # 100 tokens are too few
        ([9000, 10, 5000, 9000], [True, True, False, False]),  # one document is too few
        ([3000, 3000, 3000, 9000], [True, True, False, False]),
        ([2000, 2000, 2000, 2000, 9000, 9000], [True, True, True, False, False, False]),
    ],
)
def test_the_minimum_is_reached_in_the_order_of_the_hashes(tokens, expected):
    tokens, side = np.array(tokens), np.arange(len(tokens), dtype=np.uint64) << np.uint64(60)
    shuffled = np.random.default_rng(0).permutation(len(tokens))

    chosen, added = shards.choose_held_out(side[shuffled], tokens[shuffled], 0.01)

    np.testing.assert_array_equal(chosen, np.array(expected)[shuffled])
    assert added == sum(expected) - 1  # the first hash is 0 and below any fraction


def test_only_the_fraction_counts_if_it_gives_enough():
    side = np.random.default_rng(0).integers(0, 2**64, 5000, np.uint64)

    chosen, added = shards.choose_held_out(side, np.full(5000, 200), 0.01)

    np.testing.assert_array_equal(chosen, side < 0.01 * 2**64)
    assert added == 0


@pytest.mark.parametrize(
    "documents, size, said",
    [
        (1, 9000, "the train split gets 0 and 0;"),
        (3, 9000, "the train split gets 1 and 9,000;"),
        (5, 1000, "the train split gets 0 and 0;"),
        (6, 1000, "the train split gets 1 and 1,000;"),
    ],
)
def test_a_text_too_small_for_two_splits_is_refused(documents, size, said):
    side = np.arange(documents, dtype=np.uint64) << np.uint64(60)

    with pytest.raises(InputError, match=said + " it needs at least 2 and 4,096"):
        shards.choose_held_out(side, np.full(documents, size), 0.01)


def test_equal_documents_are_kept_once_and_counted(tmp_path):
    text = make_text(40)
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(text + ("\n" if name == "a" else "\n\nNew.\n"))

    opened = prepare.prepare([str(tmp_path / "*.txt")], tmp_path / "s", workers=1, **OPTIONS)

    assert opened.meta["left_out"]["duplicates"] == 40
    assert len(opened.train) + len(opened.held_out) == 41


def test_documents_that_are_not_utf8_stop_the_run_or_are_counted(tmp_path, capsys):
    path = tmp_path / "bad.txt"
    path.write_bytes(make_text(40).encode() + b"\nwrong \xff bytes\n")

    with pytest.raises(InputError, match=r"bad.txt:\d+.*--on-bad-bytes skip"):
        prepare.prepare([str(path)], tmp_path / "a", workers=1, **OPTIONS)
    assert not (tmp_path / "a" / "store.json").exists()
    opened = prepare.prepare(
        [str(path)], tmp_path / "b", on_bad_bytes="skip", workers=1, **OPTIONS
    )

    assert opened.meta["left_out"]["bad_bytes"] == 1
    assert "skipped 1 documents that are not UTF-8" in capsys.readouterr().err


def test_the_same_command_again_finds_the_store_and_another_one_refuses(
    corpus, tmp_path, capsys
):
    folder = tmp_path / "store"
    prepare.prepare([str(corpus)], folder, workers=1, **OPTIONS)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}

    prepare.prepare([str(corpus)], folder, workers=2, **OPTIONS)

    assert "already made" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    with pytest.raises(InputError, match="held_out"):
        prepare.prepare([str(corpus)], folder, workers=1, **{**OPTIONS, "held_out": 0.2})
    (tmp_path / "more.txt").write_text("More text.\n\nAnd more.")
    with pytest.raises(InputError, match="other inputs"):
        prepare.prepare([str(tmp_path / "more.txt")], folder, workers=1, **OPTIONS)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_killed_run_leaves_nothing_finished_and_continues(corpus, tmp_path, workers, capsys):
    folder = tmp_path / "store"
    process = slow_prepare.begin(corpus, folder, "--held-out", "0.1", "--workers", workers)
    deadline = time.monotonic() + 60
    while len(list(folder.glob("unfinished/*/parts/*.npz"))) < 4:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()

    with pytest.raises(InputError, match="not a finished token store"):
        store.Store(folder)
    done = set(folder.glob("unfinished/*/parts/*.npz"))
    whole = prepare.prepare([str(corpus)], tmp_path / "whole", workers=1, **OPTIONS)
    made = []
    real = parts.write
    parts.write = lambda part, path: (made.append(path), real(part, path))
    try:
        prepare.prepare([str(corpus)], folder, workers=1, **OPTIONS)
    finally:
        parts.write = real

    assert "continuing" in capsys.readouterr().err
    assert done and not done & set(made)
    assert contents(folder) == contents(whole.folder)


def test_workers_die_with_their_parent(corpus, tmp_path):
    process = slow_prepare.begin(corpus, tmp_path / "s", "--workers", 2, seconds=1)
    wait_for(lambda: list(tmp_path.glob("s/unfinished/*/parts/*")))
    children = descendants(process.pid)
    assert len(children) >= 2
    process.kill()
    process.wait()

    wait_for(lambda: not any(map(is_alive, children)))


def test_death_between_the_last_files_leaves_nothing_finished(corpus, tmp_path, monkeypatch):
    folder = tmp_path / "store"

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(system_files, "sync", die)
        prepare.prepare([str(corpus)], folder, workers=1, **OPTIONS)

    assert not (folder / "store.json").exists()
    finished = prepare.prepare([str(corpus)], folder, workers=1, **OPTIONS)
    for name, about in finished.meta["files"].items():
        assert system_files.sha256(folder / name) == about["sha256"]


def test_the_command_has_the_flags_of_the_function(corpus, tmp_path):
    parser = argparse.ArgumentParser()
    prepare_command.add_arguments(parser)
    flags = ["--input", str(corpus), "--output", str(tmp_path / "s"), "--vocab-size", "300"]
    flags += ["--vocab-kind", "bpe", "--held-out", "0.1", "--workers", "1"]

    assert prepare_command.main(parser.parse_args(flags)) == 0

    meta = json.loads((tmp_path / "s" / "store.json").read_text())
    assert meta["vocab"]["kind"] == "sentencepiece"
    assert str(tmp_path) not in json.dumps(meta)


@pytest.mark.parametrize("fraction", [0, 1, -0.5])
def test_a_held_out_fraction_outside_0_to_1_is_refused(corpus, tmp_path, fraction):
    with pytest.raises(InputError, match="--held-out"):
        prepare.prepare([str(corpus)], tmp_path / "s", held_out=fraction, vocab_size=300)
