"""Synthetic runs that several tests of reports and comparisons read."""

import pytest
import synthetic
from reports import arm
from synthetic import falling


@pytest.fixture
def pair(tmp_path):
    """A baseline that falls to 3, and a grown run that falls twice as fast."""
    scratch = synthetic.run(tmp_path / "scratch", losses=falling(1 / 400))
    grown = synthetic.run(tmp_path / "grow", synthetic.GROWN, losses=falling(1 / 200))
    return scratch, grown


@pytest.fixture
def arms(tmp_path):
    """A baseline that falls to 3 with either seed, and an arm that falls to 1 or to 0."""
    full = arm(tmp_path, "full", [falling(1 / 400)] * 2)
    return full, arm(tmp_path, "fast", [falling(1 / 200), falling(1 / 160)])
