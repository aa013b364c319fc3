"""Tests of checkpoints: an incomplete or damaged one is not used."""

import json
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_task
from hypothesis import given, settings
from hypothesis import strategies as st

from bertgrow.core import errors
from bertgrow.train import loop, sharding
from bertgrow.train.checkpoints import checkpoint, disk

CHILD = Path(__file__).with_name("child.py")
MESH_8 = {"data": 2, "fsdp": 2, "tensor": 2}


def mesh_of(spec):
    return sharding.make_mesh(spec, jax.devices()[: np.prod(list(spec.values()))])


def first_state(mesh):
    task, optimizer = toy_task.task(), toy_task.optimizer()
    where = sharding.state_shardings(task, optimizer, mesh)
    return loop.initial_state(task, optimizer, jax.random.key(0), where)


def shapes(mesh):
    return loop.state_shapes(toy_task.task(), toy_task.optimizer(), mesh)


def numbers(state):
    plain = state._replace(key=jax.random.key_data(state.key))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(plain)]


@pytest.fixture(scope="module")
def state():
    return first_state(mesh_of({"data": 1}))


@pytest.fixture
def three(tmp_path, state):
    """Checkpoints 1, 2 and 3."""
    with checkpoint.Checkpoints(tmp_path, keep=3) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state, {"row": 10 * step})
    return tmp_path


def largest(folder):
    files = [file for file in folder.rglob("*") if file.is_file()]
    return max(files, key=lambda file: file.stat().st_size)


def flip_a_bit(folder):
    file = largest(folder)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def cut_short(folder):
    file = largest(folder)
    file.write_bytes(file.read_bytes()[:-1])


def remove_a_file(folder):
    largest(folder).unlink()


def remove_the_checksum(folder):
    (folder.parent / "checksums" / f"{folder.name}.json").unlink()


def garble_the_checksum(folder):
    (folder.parent / "checksums" / f"{folder.name}.json").write_text('{"fil')


DAMAGES = [
    (flip_a_bit, "has changed since it was written"),
    (cut_short, r"has \d+ bytes instead of \d+"),
    (remove_a_file, "is missing"),
    (remove_the_checksum, "no checksum file"),
    (garble_the_checksum, "checksum file 3.json is damaged"),
]


@pytest.mark.parametrize("damage, words", DAMAGES)
def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_used(
    three, state, damage, words
):
    damage(three / "3")
    heard = []

    with checkpoint.Checkpoints(three) as checkpoints:
        step = checkpoints.latest(report=heard.append)
        restored, record = checkpoints.restore(step, shapes(mesh_of({"data": 1})))

    assert step == 2 and record == {"row": 20}
    (line,) = heard
    assert line.startswith("checkpoint 3 is not used")
    assert re.search(words, line)
    for a, b in zip(numbers(state), numbers(restored), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_damaged_step_can_be_saved_again(three, state):
    flip_a_bit(three / "3")

    with checkpoint.Checkpoints(three, keep=3) as checkpoints:
        checkpoints.latest(report=lambda line: None)
        checkpoints.save(3, state, {"row": 31})
        checkpoints.wait()

        assert checkpoints.latest() == 3
        assert checkpoints.record(3) == {"row": 31}


def test_reading_changes_nothing_on_disk(three):
    remove_the_checksum(three / "3")
    (three / "4.orbax-checkpoint-tmp").mkdir()
    (three / "9").mkdir()
    before = sorted(map(str, three.rglob("*")))

    with checkpoint.Checkpoints(three) as checkpoints:
        assert checkpoints.latest(report=lambda line: None) == 2

    assert sorted(map(str, three.rglob("*"))) == before


def test_leftovers_of_a_killed_process_are_removed_by_the_next_save(three, state):
    remove_the_checksum(three / "3")
    (three / "4.orbax-checkpoint-tmp").mkdir()
    (three / "9").mkdir()

    with checkpoint.Checkpoints(three, keep=3) as checkpoints:
        assert checkpoints.latest(report=lambda line: None) == 2
        checkpoints.save(5, state, {})

    assert sorted(entry.name for entry in three.iterdir()) == ["1", "2", "5", "checksums"]


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert checkpoint.Checkpoints(tmp_path / "absent").latest() is None


@pytest.mark.parametrize("spec", [{"data": 1}, {"fsdp": 4}, {"data": 4, "tensor": 2}])
def test_a_state_of_eight_devices_is_restored_onto_other_meshes(tmp_path, spec):
    eight, mesh = first_state(mesh_of(MESH_8)), mesh_of(spec)

    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, eight, {})
        checkpoints.wait()
        restored, _ = checkpoints.restore(1, shapes(mesh))

    assert restored.params["words"].sharding.mesh == mesh
    assert restored.key.dtype == eight.key.dtype
    for a, b in zip(numbers(eight), numbers(restored), strict=True):
        np.testing.assert_array_equal(a, b)


def test_parameters_alone_can_be_restored(three, state):
    target = shapes(mesh_of({"data": 1})).params

    params = checkpoint.Checkpoints(three).restore_params(3, target)

    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda leaf: jax.ShapeDtypeStruct((25, 8), leaf.dtype), r"float32 \[24, 8\]"),
        (lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), r"bfloat16 \[24, 8\]"),
    ],
)
def test_a_state_of_another_model_is_refused_by_name(three, change, words):
    target = shapes(mesh_of({"data": 1}))
    target.params["words"] = change(target.params["words"])

    with pytest.raises(errors.InputError, match=f"params/words as.*{words}"):
        checkpoint.Checkpoints(three).restore(3, target)


def test_saving_an_older_step_is_an_error(three, state):
    with (
        checkpoint.Checkpoints(three) as checkpoints,
        pytest.raises(RuntimeError, match="checkpoint 3 exists"),
    ):
        checkpoints.save(2, state, {})


def test_saving_the_same_step_twice_does_nothing(tmp_path, state):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, {"row": 1})
        checkpoints.save(1, state, {"row": 2})

        assert checkpoints.record(1) == {"row": 1}


def test_the_last_checkpoints_and_one_of_each_stage_stay(tmp_path, state):
    for part in (range(5, 31, 5), range(35, 51, 5)):  # opened again in the middle
        with checkpoint.Checkpoints(tmp_path, stage_ends=[11, 23, 35], keep=2) as checkpoints:
            for step in part:
                checkpoints.save(step, state, {})

    assert checkpoints.steps() == [10, 20, 35, 45, 50]
    listed = {file.stem for file in (tmp_path / "checksums").iterdir()}
    assert listed == {"10", "20", "35", "45", "50"}


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(1, 60), min_size=1), st.sets(st.integers(1, 60)), st.integers(2, 4))
def test_deleting_as_one_goes_keeps_what_deleting_at_the_end_would(steps, ends, keep):
    kept = set()
    for step in sorted(steps):
        kept = checkpoint.retained(kept | {step}, ends, keep)

    assert kept == checkpoint.retained(steps, ends, keep)


def test_a_stage_end_belongs_to_the_stage_that_ends():
    assert checkpoint.retained([5, 10, 15, 20, 25], [10, 30], keep=1) == {10, 25}


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path, state):
    (tmp_path / "file").write_text("")

    with (
        checkpoint.Checkpoints(tmp_path / "file" / "checkpoints") as checkpoints,
        pytest.raises(errors.InputError, match="cannot write checkpoints in .*workdir"),
    ):
        checkpoints.save(1, state, {})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of Orbax
def test_a_save_that_fails_in_the_background_is_told_at_the_next_call(tmp_path, state):
    checkpoints = checkpoint.Checkpoints(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))  # as good as a full disk
    try:
        with pytest.raises(errors.InputError, match="cannot write checkpoints"):
            checkpoints.save(1, state, {})
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)

    with pytest.raises(errors.InputError, match="cannot write checkpoints"):
        checkpoints.save(2, state, {})
    checkpoints.close()
    with checkpoint.Checkpoints(tmp_path) as again:  # there is room now
        assert again.latest(report=lambda line: None) is None
        again.save(2, state, {})
    assert again.latest() == 2


def test_two_runs_cannot_write_in_one_folder(tmp_path, state):
    with checkpoint.Checkpoints(tmp_path) as one:
        one.save(1, state, {})

        with (
            checkpoint.Checkpoints(tmp_path) as other,
            pytest.raises(errors.InputError, match="another run writes"),
        ):
            other.save(2, state, {})

    with checkpoint.Checkpoints(tmp_path) as other:  # free again
        other.save(2, state, {})


def test_the_disk_needed_is_known_before_the_start(tmp_path):
    small = {"w": jax.ShapeDtypeStruct((100,), jnp.float32)}
    large = {"w": jax.ShapeDtypeStruct((300,), jnp.float32)}

    # Stage 1 leaves 400 bytes; stage 2 keeps two and writes a third.
    assert disk.bytes_needed([small, large], keep=2) == 400 + 3 * 1200
    disk.check_disk(tmp_path / "not" / "there", 1000)
    with pytest.raises(errors.InputError, match="checkpoints need 1,000,000.00 GB"):
        disk.check_disk(tmp_path, 1e15)


@pytest.mark.slow
def test_kill_9_in_the_middle_of_a_save_leaves_the_one_before(tmp_path):
    """A state of 100 MB is being written when the process is killed."""
    script = f"""
import os, sys, time, threading
import jax, jax.numpy as jnp
sys.path[:0] = [{str(CHILD.parents[2])!r}]
from bertgrow.core.types import TrainState
from bertgrow.train.checkpoints import checkpoint
noise = jax.random.normal(jax.random.key(0), (25_000_000,))
state = TrainState(jnp.int32(0), {{"w": noise}}, (), jax.random.key(1))
checkpoints = checkpoint.Checkpoints({str(tmp_path)!r})
checkpoints.save(1, state, {{}})
checkpoints.wait()
checkpoints.save(2, state, {{}})
time.sleep(float(sys.argv[1]))
os.kill(os.getpid(), 9)
"""
    for delay in (0.0, 0.05, 0.15):
        done = subprocess.run([sys.executable, "-c", script, str(delay)], timeout=120)
        assert done.returncode == -signal.SIGKILL
        heard = []
        step = checkpoint.Checkpoints(tmp_path).latest(report=heard.append)
        assert step == 1 or (step == 2 and not heard)
        for entry in tmp_path.iterdir():
            shutil.rmtree(entry)


def test_the_checksum_file_lists_every_file(three):
    table = json.loads((three / "checksums" / "3.json").read_text())["files"]

    files = {str(f.relative_to(three / "3")) for f in (three / "3").rglob("*") if f.is_file()}
    assert set(table) == files
