"""Tests of embedding a file: one vector a line, and the same file after a stop."""

import lzma

import numpy as np
import pretrained_models as small
import pytest
from pyarrow import parquet

from bertgrow.core.errors import InputError
from bertgrow.inference import model
from bertgrow.inference.embed_file import check_output, embed_file

LINES = ["the file", "", "a list of paris", "the capital is " * 5, "name"]


@pytest.fixture(scope="module")
def loaded():
    return model.of(small.pretrained("bert"))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "texts.txt.xz"
    with lzma.open(path, "wt", encoding="utf-8") as stream:
        stream.write("\n".join(LINES))
    return path


def quiet(line):
    del line


def test_a_matrix_has_the_vector_of_every_line(loaded, source, tmp_path):
    number = embed_file(loaded, source, tmp_path / "out.npy", lines=2, report=quiet)

    actual = np.load(tmp_path / "out.npy")
    assert number == 5
    np.testing.assert_allclose(actual, loaded.embed(LINES), atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npy", "texts.txt.xz"]


def test_a_parquet_file_has_texts_and_vectors(loaded, source, tmp_path):
    embed_file(loaded, source, tmp_path / "out.parquet", pooling="max", lines=2, report=quiet)

    table = parquet.read_table(tmp_path / "out.parquet")
    assert table["text"].to_pylist() == LINES
    vectors = np.array(table["embedding"].to_pylist(), np.float32)
    np.testing.assert_allclose(vectors, loaded.embed(LINES, pooling="max"), atol=1e-5)


def test_a_stopped_command_continues_with_the_parts_that_it_has(loaded, source, tmp_path):
    def stop(line):
        raise KeyboardInterrupt(line)

    output, seen = tmp_path / "out.npy", []
    with pytest.raises(KeyboardInterrupt):
        embed_file(loaded, source, output, lines=2, report=stop)

    with pytest.raises(InputError, match="parts of another model, input or pooling"):
        embed_file(loaded, source, output, lines=2, pooling="max", report=quiet)
    embed_file(loaded, source, output, lines=2, report=seen.append)

    assert seen == ["embedded 4 lines", "embedded 5 lines"]
    np.testing.assert_allclose(np.load(output), loaded.embed(LINES), atol=1e-5)


def test_an_output_is_not_overwritten_and_has_a_known_suffix(tmp_path):
    (tmp_path / "out.npy").touch()

    for name, said in (("out.npy", "exists already"), ("out.csv", "ends in .npy or .parquet")):
        with pytest.raises(InputError, match=said):
            check_output(tmp_path / name)


def test_an_input_that_is_not_text_is_answered(loaded, tmp_path):
    (tmp_path / "in.txt").write_bytes(b"\xff\xfe\n")

    with pytest.raises(InputError, match="is not UTF-8"):
        embed_file(loaded, tmp_path / "in.txt", tmp_path / "out.npy", report=quiet)
    with pytest.raises(InputError, match="there is no such file"):
        embed_file(loaded, tmp_path / "none.txt", tmp_path / "out.npy", report=quiet)
