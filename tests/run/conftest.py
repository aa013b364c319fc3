"""Fixture of a finished run that several modules read."""

import pytest
import small_runs


@pytest.fixture(scope="session")
def finished(store, tmp_path_factory):
    """Working directory of the small recipe: four stages that grow."""
    workdir = tmp_path_factory.mktemp("runs") / "grown"
    assert small_runs.pretrain(store, workdir) == 0
    return workdir
