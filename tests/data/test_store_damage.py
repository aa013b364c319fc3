"""Tests of damage in the files of a token store: found and named, or without effect."""

import argparse
import contextlib
import hashlib
import json
import pickle
import shutil

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from made_text import make_text

from bertgrow.commands import prepare as prepare_command
from bertgrow.core import system_files
from bertgrow.core.errors import InputError
from bertgrow.data.corpus import metadata, prepare, store

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 2**70), st.floats(), st.text(max_size=3),
    st.just([]), st.just({}),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store of two shards in each file kind, small so that it is read in milliseconds."""
    folder = tmp_path_factory.mktemp("damage")
    (folder / "text.txt").write_text(make_text(40))
    prepare.prepare(
        [str(folder / "text.txt")], folder / "store",
        vocab_size=100, vocab_kind="wordpiece", workers=1,
    )  # fmt: skip
    return folder / "store"


def results(folder):
    """A digest of all that is read from a store."""
    opened = store.Store(folder)
    values = [
        opened.hash,
        opened.tokenizer.tokens,
        opened.meta["words"],
        opened.meta["left_out"],
        opened.meta["made_from"],
        *(
            (split.sizes.tolist(), split.unigrams.tolist(), [t.tolist() for t in tokens])
            for split in (opened.train, opened.held_out)
            for tokens in [split.read(range(len(split)))]
        ),
    ]
    return hashlib.sha256(repr(values).encode()).hexdigest()


@contextlib.contextmanager
def replaced(path, content):
    """Replaces the content of a file, and puts the old one back."""
    before = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.unlink()
        path.write_bytes(before)


def check_found(folder, path, content, expected):
    with replaced(path, content):
        try:
            outcome = results(folder)
        except InputError as error:
            assert "\n" not in str(error) and str(folder) in str(error)
        else:
            assert outcome == expected


@pytest.fixture(scope="module")
def expected(folder):
    return results(folder)


def places(value, place=()):
    """Paths to all values inside a JSON value."""
    yield place
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from places(inner, (*place, key))


def change(meta, place, value):
    """Sets the value at a place, or deletes it if `value` is Ellipsis."""
    *outer, last = place
    for key in outer:
        meta = meta[key]
    if value is ...:
        del meta[last]
    else:
        meta[last] = value


@hypothesis.settings(max_examples=200)
@hypothesis.given(st.data(), st.booleans())
def test_a_changed_entry_of_the_metadata_is_found(folder, expected, data, signed):
    """Also if the checksum agrees, as in metadata that another program made."""
    meta = json.loads((folder / "store.json").read_bytes())
    place = data.draw(st.sampled_from([p for p in places(meta) if p]))
    # What nobody reads may change if the checksum agrees.
    hypothesis.assume(not (signed and place[0] in ("words", "left_out", "made_from")))
    change(meta, place, data.draw(st.just(...) | VALUES))
    if signed and place[0] != "checksum":
        meta["checksum"] = metadata.checksum(meta)

    check_found(folder, folder / "store.json", json.dumps(meta).encode(), expected)


@hypothesis.settings(max_examples=200)
@hypothesis.given(st.data())
def test_a_file_that_is_cut_flipped_or_empty_is_found(folder, expected, data):
    path = folder / data.draw(st.sampled_from(sorted(path.name for path in folder.iterdir())))
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    bit = bytes([content[place] ^ 1 << data.draw(st.integers(0, 7))])
    flipped = content[:place] + bit + content[place + 1 :]
    damaged = data.draw(st.sampled_from([content[:place], flipped, b"", content + b"\0"]))

    check_found(folder, path, damaged, expected)


KINDS = [b"null", b"[]", b"{}", b"3", b'"store"', b"\xff", b"[" * 10**5]


@pytest.mark.parametrize("text", KINDS, ids=lambda text: text[:8])
def test_metadata_of_another_kind_are_refused(folder, text):
    with replaced(folder / "store.json", text), pytest.raises(InputError, match="store.json"):
        store.Store(folder)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(print),
        np.arange(9),
        np.zeros(3, object),
        np.zeros((3, 3), np.int64),
        np.zeros(100, np.float32),
        b"\x93NUMPY\x01\x00",
    ],
    ids=["pickle", "length", "objects", "shape", "dtype", "header"],
)
def test_an_index_of_another_kind_is_refused_though_its_digest_agrees(folder, content):
    meta = json.loads((folder / "store.json").read_bytes())
    name = "train.unigrams.npy"
    if isinstance(content, np.ndarray):
        np.save(folder / "index.npy", content, allow_pickle=True)
        content = (folder / "index.npy").read_bytes()
        (folder / "index.npy").unlink()
    with replaced(folder / name, content):
        meta["files"][name] = dict(
            bytes=len(content), sha256=system_files.sha256(folder / name)
        )
        meta["hash"] = metadata.content_hash(meta["files"])
        meta["checksum"] = metadata.checksum(meta)

        with (
            replaced(folder / "store.json", json.dumps(meta).encode()),
            pytest.raises(InputError, match=name) as raised,
        ):
            store.Store(folder)
    assert "\n" not in str(raised.value)


def test_a_shard_is_checked_when_it_is_first_read(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = next(copy.glob("train-*.array_record"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    opened = store.Store(copy)
    opened.held_out.read([0])

    with pytest.raises(InputError, match=f"{path.name} is damaged"):
        opened.train.read([0])


def test_a_part_that_is_damaged_is_named(folder, tmp_path, monkeypatch):
    text = folder.parent / "text.txt"
    with monkeypatch.context() as patch:
        patch.setattr(prepare.building, "write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare.prepare([str(text)], tmp_path, vocab_size=100, workers=1)
    (part,) = tmp_path.glob("unfinished/*/parts/*.npz")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)

    with pytest.raises(InputError, match=f"{part.name} is damaged: .*; remove it and run"):
        prepare.prepare([str(text)], tmp_path, vocab_size=100, workers=1)


def test_verify_lists_the_files_or_names_the_damaged_one(folder, tmp_path, capsys):
    copy = shutil.copytree(folder, tmp_path / "copy")
    names = sorted(json.loads((copy / "store.json").read_bytes())["files"])

    prepare_command.main(_arguments("--verify", copy))

    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == names
    assert last.startswith(f"{copy}: all files are intact")
    path = next(copy.glob("held_out-*.array_record"))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match=path.name):
        prepare_command.main(_arguments("--verify", copy))


def _arguments(*words):
    parser = argparse.ArgumentParser()
    prepare_command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])
