"""Tests that the growth of benchmarks/growth.py needs little more memory than the new state."""

import runpy
from pathlib import Path

import pytest

from bertgrow.train import sharding

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "growth.py"


@pytest.mark.slow
def test_the_large_growth_needs_room_for_the_new_state_and_little_else():
    script = runpy.run_path(str(SCRIPT))
    mesh = sharding.make_mesh(dict(data=1, fsdp=4, tensor=2))

    cost = script["measure"](mesh, False, width="equal", moments="copy")

    gigabyte = 1e9  # 0.7 billion weights and two moments, float32, over eight devices
    assert 1.0 * gigabyte < cost["new_bytes"] < 1.2 * gigabyte
    assert cost["old_bytes"] > 0.15 * gigabyte
    assert cost["peak_bytes"] < 1.05 * cost["new_bytes"]
