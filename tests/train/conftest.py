"""A state of the toy task, and checkpoints of it."""

import pytest
import toy_task

from bertgrow.train.checkpoints import checkpoint


@pytest.fixture(scope="module")
def state():
    return toy_task.first_state(toy_task.mesh({"data": 1}))


@pytest.fixture
def three(tmp_path, state):
    """Checkpoints 1, 2 and 3."""
    with checkpoint.Checkpoints(tmp_path, keep=3) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state, {"row": 10 * step})
    return tmp_path
