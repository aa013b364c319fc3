"""Fixture of a teacher that several modules share."""

import pytest
import taught_runs


@pytest.fixture(scope="session")
def taught_by(store, tmp_path_factory):
    """The option that names the finished run of `taught.py:teacher`."""
    workdir = tmp_path_factory.mktemp("taught") / "teacher"
    assert taught_runs.distil(store, workdir, variant="teacher") == 0
    return f"--config.transfer.teacher={workdir}"
