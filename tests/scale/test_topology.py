"""Tests that a run goes on exactly on other devices than those that saved it."""

import pods
import pytest
import runs

RECIPE = f"{runs.RECIPE}:plain"
SAVED = 4  # of 8 steps
# The mean gradient is summed over other parts of the batch: 1e-5 relative, measured.
TOLERANCE = dict(rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def on_eight(store, tmp_path_factory):
    """A finished run on eight devices, weights and moments in eight parts."""
    workdir = tmp_path_factory.mktemp("topology") / "eight"
    return runs.alone("pretrain", RECIPE, store, workdir, *runs.mesh(fsdp=4, tensor=2))


@pytest.mark.parametrize(
    "on, sizes, changes",
    [
        (1, {}, ["mesh.fsdp", "mesh.tensor"]),
        pytest.param(
            4,
            dict(data=2, fsdp=2),
            ["mesh.data", "mesh.fsdp", "mesh.tensor"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["one", "four"],
)
def test_a_run_saved_on_eight_devices_goes_on_on(on, sizes, changes, on_eight, store, tmp_path):
    workdir = runs.at_step(on_eight, tmp_path / "continued", SAVED)

    runs.alone("pretrain", RECIPE, store, workdir, *runs.mesh(**sizes), on=on)

    runs.assert_equal(workdir, on_eight, TOLERANCE, changes=changes)


@pytest.mark.slow
def test_a_run_saved_on_eight_devices_goes_on_in_two_processes(on_eight, store, tmp_path):
    workdir = runs.at_step(on_eight, tmp_path / "continued", SAVED)

    sizes = runs.mesh(data=2, fsdp=2)
    pod = pods.Pod(workdir, "pretrain", RECIPE, store, *sizes, devices=2)

    assert pod.codes() == [0, 0], pod.said(1)
    assert f"restored step {SAVED}," in pod.said()
    changes = ["mesh.data", "mesh.fsdp", "mesh.tensor"]
    runs.assert_equal(workdir, on_eight, TOLERANCE, changes=changes)
