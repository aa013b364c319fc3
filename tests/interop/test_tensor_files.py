"""Tests of files of tensors: safetensors, PyTorch pickles without torch, and shards."""

import builtins
import io
import json
import pickle
import zipfile

import make_interop_golden as make_golden
import numpy as np
import pytest

from bertgrow.core.errors import InputError
from bertgrow.interop import safetensors, tensor_files, torch_file

TENSORS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.float32([1.5]),
    "empty": np.zeros((0, 3), np.float32),
    "half": np.float16([[1, 2]]),
    "ids": np.arange(3),
}


def assert_equal(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype
        np.testing.assert_array_equal(actual[name], array)


def test_safetensors_come_back_as_written(tmp_path):
    safetensors.write(tmp_path / "x.safetensors", TENSORS, {"format": "pt"})

    assert_equal(safetensors.read(tmp_path / "x.safetensors"), TENSORS)


def test_the_safetensors_package_reads_and_writes_the_same_file(tmp_path):
    package = pytest.importorskip("safetensors.numpy")

    safetensors.write(tmp_path / "ours", TENSORS)
    package.save_file(TENSORS, tmp_path / "theirs")

    assert_equal(package.load_file(tmp_path / "ours"), TENSORS)
    assert_equal(safetensors.read(tmp_path / "theirs"), TENSORS)


@pytest.mark.parametrize("length", [0, 5, 60, -1])
def test_safetensors_cut_short_are_refused(tmp_path, length):
    path = tmp_path / "x.safetensors"
    safetensors.write(path, TENSORS)
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(InputError, match="x.safetensors"):
        safetensors.read(path)


def test_offsets_that_do_not_fit_the_shape_are_refused(tmp_path):
    header = {"a": dict(dtype="F32", shape=[4], data_offsets=[0, 8])}
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))

    with pytest.raises(InputError, match="offsets of a do not fit"):
        safetensors.read(path)


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_torch_writes_is_read_without_it(tmp_path, is_zip):
    torch = pytest.importorskip("torch")
    state, path = make_golden.torch_state(torch), tmp_path / "pytorch_model.bin"
    torch.save(state, path, _use_new_zipfile_serialization=is_zip)

    assert_equal_state(torch_file.read(path))


@pytest.mark.parametrize("name", ["zip.bin", "pickles.bin"])
def test_stored_pytorch_files_of_both_forms_are_read(name):
    assert_equal_state(torch_file.read(make_golden.FOLDER / name))


def assert_equal_state(actual):
    assert actual.keys() == make_golden.STATE.keys()
    for name, expected in make_golden.STATE.items():
        assert actual[name].shape == np.shape(expected)
        np.testing.assert_array_equal(actual[name].astype(np.float64), expected)


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def hostile(content, is_zip):
    pickled = pickle.dumps(content, protocol=2)
    if not is_zip:
        head = [torch_file.MAGIC, 1001, {}]
        return b"".join(pickle.dumps(each, protocol=2) for each in head) + pickled
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("model/data.pkl", pickled)
    return stream.getvalue()


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("function", [builtins.exec, builtins.eval, builtins.getattr])
def test_a_hostile_file_is_refused_and_nothing_runs(tmp_path, is_zip, function):
    proof, path = tmp_path / "proof", tmp_path / "pytorch_model.bin"
    code = f"open({str(proof)!r}, 'w').close()"
    path.write_bytes(hostile({"a": Call(function, code)}, is_zip))

    with pytest.raises(InputError, match=f"asks for .*{function.__name__}"):
        torch_file.read(path)

    assert not proof.exists()


def test_a_module_that_a_hostile_file_names_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"ctrap\nx\n.")

    with pytest.raises(InputError, match="asks for trap.x"):
        torch_file.read(path)


def test_a_tensor_outside_its_storage_is_refused(tmp_path):
    def saved(shape, strides):
        """The pickle of one tensor over a storage of four numbers, by its opcodes."""
        numbers = "".join(f"I{number}\n" for number in shape)
        steps = "".join(f"I{number}\n" for number in strides)
        return (
            b"(dVa\n" + b"ctorch._utils\n_rebuild_tensor_v2\n"
            + b"((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI4\ntQ"
            + b"I0\n" + f"({numbers}t({steps}t".encode() + b"I00\nNtRs."
        )  # fmt: skip

    path = tmp_path / "pytorch_model.bin"

    def read(*args):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", saved(*args))
            archive.writestr("model/data/0", np.arange(4, dtype=np.float32).tobytes())
        return torch_file.read(path)

    np.testing.assert_array_equal(read([2, 2], [2, 1])["a"], [[0, 1], [2, 3]])
    for shape, strides in (([3, 2], [2, 1]), ([2, 2], [-2, 1]), ([2, 2], [1 << 40, 1])):
        with pytest.raises(InputError, match="outside its storage"):
            read(shape, strides)


def test_any_other_file_is_no_file_of_weights(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(b"PK\x03\x04 nonsense")

    with pytest.raises(InputError, match="no file of PyTorch weights"):
        torch_file.read(path)


def test_shards_are_joined(tmp_path):
    names = sorted(TENSORS)
    for number, part in enumerate((names[:2], names[2:])):
        shard = {name: TENSORS[name] for name in part}
        safetensors.write(tmp_path / f"{number}.safetensors", shard)
    table = {name: f"{int(name not in names[:2])}.safetensors" for name in names}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": table}))

    assert_equal(tensor_files.read(tensor_files.find(tmp_path)), TENSORS)

    (tmp_path / "1.safetensors").unlink()
    with pytest.raises(InputError, match="names the shard '1.safetensors'"):
        tensor_files.read(index)


def test_a_folder_without_weights_is_answered_with_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"looked for model.safetensors, .*pytorch_model.bin"):
        tensor_files.find(tmp_path)
