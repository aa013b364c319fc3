"""Tests of saving and restoring checkpoints: other meshes, retention, full disks, locks."""

import resource
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_task
from hypothesis import given, settings
from hypothesis import strategies as st

from bertgrow.core import errors
from bertgrow.train.checkpoints import checkpoint, disk


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert checkpoint.Checkpoints(tmp_path / "absent").latest() is None


@pytest.mark.parametrize("spec", [{"data": 1}, {"fsdp": 4}, {"data": 4, "tensor": 2}])
def test_a_state_of_eight_devices_is_restored_onto_other_meshes(tmp_path, spec):
    eight, mesh = toy_task.first_state(toy_task.mesh(toy_task.MESH_8)), toy_task.mesh(spec)

    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, eight, {})
        checkpoints.wait()
        restored, _ = checkpoints.restore(1, toy_task.shapes(mesh))

    assert restored.params["words"].sharding.mesh == mesh
    assert restored.key.dtype == eight.key.dtype
    for a, b in zip(toy_task.arrays(eight), toy_task.arrays(restored), strict=True):
        np.testing.assert_array_equal(a, b)


def test_parameters_alone_can_be_restored(three, state):
    target = toy_task.shapes(toy_task.mesh({"data": 1})).params

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
    target = toy_task.shapes(toy_task.mesh({"data": 1}))
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
def test_deleting_after_every_save_equals_deleting_once_at_the_end(steps, ends, keep):
    saved = set()
    for step in sorted(steps):
        saved = checkpoint.retained(saved | {step}, ends, keep)

    assert saved == checkpoint.retained(steps, ends, keep)


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
def test_a_save_that_fails_in_the_background_is_raised_at_the_next_call(tmp_path, state):
    checkpoints = checkpoint.Checkpoints(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (2000, before[1])
    )  # fails in the same way as on a full disk
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
    with checkpoint.Checkpoints(tmp_path) as reopened:  # there is room now
        assert reopened.latest(report=lambda line: None) is None
        reopened.save(2, state, {})
    assert reopened.latest() == 2


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
    with pytest.raises(errors.InputError, match="checkpoints need 1 PB and .* GB"):
        disk.check_disk(tmp_path, 1e15)
