"""Tests of text sources: equal documents from any format, one-line errors."""

import gzip
import importlib.util
import json
import lzma
import sys

import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import documentation, sources

TEXTS = ["First line.\nSecond – ünïcode.", "Another document.", "A third."]
PACK = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}


def fail(message):
    raise AssertionError(message)


def documents(*inputs, bad=fail):
    opened = sources.find([str(path) for path in inputs])
    return [source.read(raw) for source in opened for raw in source.raw(bad)]


def as_txt(texts):
    return "\n\n".join(texts).encode()


def as_jsonl(texts):
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


def as_parquet(texts):
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table({"id": range(len(texts)), "text": texts}), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("form", [as_txt, as_jsonl, as_parquet])
def test_every_format_and_compression_gives_the_same_documents(tmp_path, form, pack):
    path = tmp_path / f"corpus.{form.__name__[3:]}{pack}"
    path.write_bytes(PACK[pack](form(TEXTS)))

    assert documents(path) == TEXTS


def test_a_zst_file_of_two_frames_is_read_to_its_end(tmp_path):
    path = tmp_path / "corpus.txt.zst"
    path.write_bytes(zstandard.compress(b"One.\n\n") + zstandard.compress(b"Two.\n"))

    assert documents(path) == ["One.", "Two."]


def test_windows_line_ends_and_a_byte_order_mark_are_not_text(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"\xef\xbb\xbfOne.\r\nMore.\r\n\r\nTwo.\r\n")

    assert documents(path) == ["One.\nMore.", "Two."]


def test_a_glob_finds_its_files_in_order_and_each_once(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.txt").write_text(f"Text {name}.")

    assert documents(tmp_path / "*.txt", tmp_path / "a.txt") == ["Text a.", "Text b."]


def test_a_very_long_document_is_cut_at_a_line_end(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LONGEST", 25)
    path = tmp_path / "long.jsonl"
    path.write_bytes(as_jsonl(["ten chars\n" * 5]))

    assert [text.split() for text in documents(path)] == [
        ["ten", "chars"] * 2, ["ten", "chars"] * 2, ["ten", "chars"],
    ]  # fmt: skip


def test_a_document_that_is_not_utf8_is_told_with_its_line_and_left_out(tmp_path):
    path = tmp_path / "bad.txt"
    path.write_bytes(b"Good.\n\nAlso good\nbut \xff here.\n\nLast.\n")
    warnings = []

    assert documents(path, bad=warnings.append) == ["Good.", "Last."]
    assert len(warnings) == 1 and f"{path}:4: " in warnings[0]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("empty.txt", b"", "is empty"),
        ("blank.txt", b"\n \n\n", "no usable text"),
        ("page.html", b"<p>", "expected .txt"),
        ("cut.txt.gz", gzip.compress(b"text " * 99, mtime=0)[:-9], "cannot be read to its end"),
        ("cut.txt.xz", lzma.compress(b"text " * 999)[:-9], "cannot be read to its end"),
        ("not.txt.gz", b"plain text", "cannot be read to its end"),
        ("not.parquet", b"plain text", "not a Parquet file"),
        ("bad.jsonl", b'{"text": "fine"}\n{"text": \n', "bad.jsonl:2 is not a JSON object"),
        ("list.jsonl", b"[1]\n", "not a JSON object"),
        ("other.jsonl", b'{"body": "fine"}\n', "no string in its field 'text'"),
    ],
)
def test_bad_files_are_one_clear_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(InputError, match=message) as raised:
        documents(path)
    assert "\n" not in str(raised.value) and name in str(raised.value)


@pytest.mark.parametrize(
    "name, message",
    [
        ("missing.txt", "no such file"),
        ("nothing*.txt", "matches no file"),
        (".", "is a folder"),
    ],
)
def test_inputs_that_do_not_exist_are_one_clear_line(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InputError, match=message) as raised:
        sources.find([name])
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(bool(importlib.util.find_spec("tensorflow")), reason="needs its absence")
def test_the_public_catalogue_asks_for_its_extra():
    with pytest.raises(InputError, match=r"pip install 'bertgrow\[tfds\]'"):
        sources.find(["tfds:glue/cola"])


@pytest.fixture
def local_data_set(tmp_path, monkeypatch):
    """A TFDS data set `made_here` of three training texts and one test text."""
    tfds = pytest.importorskip("tensorflow_datasets")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))

    class MadeHere(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path

        def _info(self):
            features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
            return self.dataset_info_from_configs(features=features)

        def _split_generators(self, _):
            return {"train": enumerate({"text": text} for text in TEXTS),
                    "test": enumerate([{"text": "For the test."}])}  # fmt: skip

        def _generate_examples(self):
            raise NotImplementedError

    MadeHere(data_dir=tmp_path, file_format="array_record").download_and_prepare()


def test_a_local_tfds_data_set_is_read_without_tensorflow(local_data_set):
    assert sorted(documents("tfds:made_here")) == sorted(TEXTS)
    assert documents("tfds:made_here:test") == ["For the test."]
    assert documents("tfds:made_here:1.0.0:test") == ["For the test."]
    assert "tensorflow" not in sys.modules
    with pytest.raises(InputError, match="Unknown split 'valid'"):
        documents("tfds:made_here:valid")


def test_docstrings_come_in_source_order_with_their_lines_joined(tmp_path, monkeypatch):
    code = (
        '"""Module\n  text.\n\n>>> 1\n1\n"""\n'
        'class A:\n  "Class."\n  def f(self):\n    """Method."""\n'
    )
    (tmp_path / "made.py").write_text(code)
    monkeypatch.setattr(documentation, "_roots", lambda: {"purelib": tmp_path})
    monkeypatch.setattr(documentation, "SHORTEST", 5)

    assert documentation.modules() == ["purelib/made.py"]
    assert documentation.read("purelib/made.py") == "Module text.\nClass.\nMethod."


def test_the_standard_library_documents_itself():
    names = documentation.modules()

    assert names == sorted(set(names))
    assert "stdlib/argparse.py" in names
    assert "Command-line parsing library" in documentation.read("stdlib/argparse.py")
