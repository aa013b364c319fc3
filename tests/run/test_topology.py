"""Tests that a run goes on exactly on other devices than those that saved it."""

import jax
import pytest
import small_runs
import topology

SAVED, LAST = 4, 8


def options(**mesh):
    sizes = {"data": 1, "fsdp": 1, "tensor": 1} | mesh
    return [f"--config.mesh.{axis}={size}" for axis, size in sizes.items()]


@pytest.fixture(scope="module")
def on_eight(store, tmp_path_factory):
    """A finished run on eight devices, weights and moments in eight parts."""
    workdir = tmp_path_factory.mktemp("topology") / "eight"
    mesh = options(fsdp=4, tensor=2)
    assert small_runs.pretrain(store, workdir, *mesh, variant=":plain") == 0
    return workdir


@pytest.mark.parametrize(
    "num_devices, mesh",
    [(1, {}), pytest.param(4, dict(data=2, fsdp=2), marks=pytest.mark.slow)],
    ids=["one", "four"],
)
def test_a_run_saved_on_eight_devices_goes_on_on(
    num_devices, mesh, on_eight, store, tmp_path, monkeypatch, capsys
):
    workdir = topology.at_step(on_eight, tmp_path / "continued", SAVED)
    devices = jax.devices()[:num_devices]
    monkeypatch.setattr(jax, "devices", lambda: devices)

    code = small_runs.pretrain(store, workdir, *options(**mesh), variant=":plain")

    assert code == 0, capsys.readouterr().err
    topology.assert_equal_runs(on_eight, workdir)
    assert topology.position(workdir, LAST) == topology.position(on_eight, LAST)
