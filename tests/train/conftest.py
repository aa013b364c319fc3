"""One compilation cache of the session and its child processes; a state and checkpoints."""

import os

import jax
import pytest
import toy_task

from bertgrow.train.checkpoints import checkpoint


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("xla"))
    settings = {
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
        os.environ.pop(name.upper())


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
