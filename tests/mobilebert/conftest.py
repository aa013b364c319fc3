"""Fixture of a teacher that several modules share."""

import distilling
import pytest


@pytest.fixture(scope="session")
def taught_by(store, tmp_path_factory):
    """The option that names the finished run of `distillations.py:cached_teacher`."""
    workdir = tmp_path_factory.mktemp("taught") / "teacher"
    assert distilling.distil(store, workdir, variant="cached_teacher") == 0
    return f"--config.transfer.teacher={workdir}"
