"""Tests of TensorFlow checkpoints, which are read and written without TensorFlow."""

import dataclasses
import json

import make_interop_golden as make_golden
import numpy as np
import pretrained_models as small
import pytest

from bertgrow.core.errors import InputError
from bertgrow.interop import crc32c, sstable, tf1, tf1_bundle

TENSORS = make_golden.TENSORS


def test_the_checksum_is_that_of_the_published_test_vectors():
    # RFC 3720, appendix B.4.
    assert crc32c.compute(b"123456789") == 0xE3069283
    assert crc32c.compute(bytes(32)) == 0x8A9136AA
    assert crc32c.compute(bytes(range(32))) == 0x46DD794E


def test_the_checksum_of_long_data_is_that_of_the_plain_loop():
    data = np.random.default_rng(0).integers(0, 256, 3 * crc32c.LANES + 77, dtype=np.uint8)

    assert crc32c.compute(data) == crc32c._sequential(0, data)


def test_a_table_of_many_keys_comes_back():
    pairs = {f"layer_{i % 7}/{i:03}/{'x' * (i % 5)}".encode(): bytes(i) for i in range(200)}

    assert sstable.read(sstable.write(pairs)) == pairs


def assert_equal(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array)
        assert actual[name].dtype == array.dtype and actual[name].shape == array.shape


def test_tensors_come_back_as_written(tmp_path):
    tf1_bundle.write(tmp_path / "x.ckpt", TENSORS)

    assert_equal(tf1_bundle.read(tmp_path / "x.ckpt"), TENSORS)


def test_tensorflow_reads_what_we_write(tmp_path):
    tensorflow = pytest.importorskip("tensorflow")
    tf1_bundle.write(tmp_path / "x.ckpt", TENSORS)

    reader = tensorflow.train.load_checkpoint(str(tmp_path / "x.ckpt"))

    names = reader.get_variable_to_shape_map()
    assert_equal({name: np.asarray(reader.get_tensor(name)) for name in names}, TENSORS)


def test_what_tensorflow_writes_is_read(tmp_path):
    make_golden.save_by_tensorflow(pytest.importorskip("tensorflow"), tmp_path / "x.ckpt")

    assert_equal(tf1_bundle.read(tmp_path / "x.ckpt"), TENSORS | make_golden.STEP)


def test_a_stored_checkpoint_of_tensorflow_is_read():
    actual = tf1_bundle.read(make_golden.FOLDER / "tensorflow.ckpt")

    assert_equal(actual, TENSORS | make_golden.STEP)


@pytest.mark.parametrize(
    "file, damage, said",
    [
        ("index", lambda content: content[:-9], "cut short"),
        ("index", lambda content: content[:20] + b"\xff" + content[21:], "damaged"),
        ("data-00000-of-00001", lambda content: content[:-4], "cut short"),
        ("data-00000-of-00001", lambda content: b"\xff" + content[1:], "damaged"),
    ],
)
def test_a_damaged_checkpoint_is_refused(file, damage, said, tmp_path):
    tf1_bundle.write(tmp_path / "x.ckpt", TENSORS)
    path = tmp_path / f"x.ckpt.{file}"
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(InputError, match=said):
        tf1_bundle.read(tmp_path / "x.ckpt")


@pytest.mark.parametrize("name", ["bert without pairs", "mobilebert", "teacher"])
def test_an_export_comes_back_the_same(name, tmp_path):
    model = small.pretrained(name)

    tf1.write(tmp_path, model)
    actual, account = tf1.read(tmp_path / tf1.CHECKPOINT)

    small.assert_equal_trees(actual.params, model.params)
    assert actual.config == dataclasses.replace(
        model.config, dtype="auto", attention_dropout=model.config.attention_dropout
    )
    assert actual.tokenizer.hash == model.tokenizer.hash
    assert account.dropped == account.fresh == ()


def test_gelu_of_googles_code_is_the_tanh_form(tmp_path):
    """So an exact gelu comes back as another model, which the export says."""
    model = small.pretrained("bert")
    tf1.write(tmp_path, model)

    actual, _ = tf1.read(tmp_path / tf1.CHECKPOINT)

    known = json.loads((tmp_path / tf1.CONFIG).read_text())
    assert known["hidden_act"] == "gelu"
    assert (model.config.activation, actual.config.activation) == ("gelu", "gelu_tanh")


def test_a_pre_norm_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="norm_order 'pre'"):
        tf1.write(tmp_path, small.pretrained("bert pre-norm"))


def test_a_folder_without_a_configuration_is_answered(tmp_path):
    with pytest.raises(InputError, match="expected bert_config.json"):
        tf1.read(tmp_path / "bert_model.ckpt")
