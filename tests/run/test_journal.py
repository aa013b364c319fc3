"""Tests of metrics: one transfer per line, behind the devices, no step lost."""

import json
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from bertgrow.core import errors
from bertgrow.run import journal, progress

STAGES = [
    {"name": "0", "start": 0, "end": 10, "flops_per_step": 2.0, "batch": 8},
    {"name": "1", "start": 10, "end": 12, "flops_per_step": 3.0, "batch": 8},
]


@pytest.fixture
def transfers(monkeypatch):
    """How many steps each transfer from the devices brought."""
    get, sizes = jax.device_get, []

    def counted(tree):
        sizes.append(len(tree))
        return get(tree)

    monkeypatch.setattr(jax, "device_get", counted)
    return sizes


def info(step, loss=1.0):
    metrics = dict(loss=jnp.float32(loss), tokens=jnp.int32(100 + step))
    return SimpleNamespace(step=step, metrics=metrics, position={"row": 8 * step})


def rows(path):
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [(row["step"], row["tokens"]) for row in map(json.loads, lines)]


@pytest.fixture
def log(tmp_path):
    with journal.Journal(tmp_path, STAGES, progress.Silent(), every=4) as log:
        log.begin(0)
        log.stage(0)
        yield log


def test_lines_are_read_in_one_transfer_each_when_their_step_has_ended(
    log, tmp_path, transfers
):
    for step in range(1, 11):
        log.take(info(step))

    assert transfers == [1, 3, 4]  # steps 1, 2 to 4 and 5 to 8; 9 and 10 are under way
    log.flush()
    assert transfers == [1, 3, 4, 2]
    tokens = {step: sum(100 + each for each in range(1, step + 1)) for step in (1, 4, 8, 10)}
    assert rows(tmp_path) == list(tokens.items())
    assert log.position == {"row": 80}


def test_a_loss_that_is_not_finite_is_found_before_a_save_with_its_own_step(log):
    for step in (1, 2, 3):
        log.take(info(step, math.nan if step == 2 else 1.0))

    with pytest.raises(errors.CheckFailed, match="at step 2, sequences 8 to 15"):
        log.sync()


def test_seconds_of_a_transfer_are_shared_by_its_steps(log, monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=0.0)
    monkeypatch.setattr(journal, "time", clock)
    log.mark()
    for step in (1, 2):
        log.take(info(step))
    clock.now = 4.0

    log.flush()

    lines = (log.workdir / "metrics.jsonl").read_text().splitlines()
    assert log.seconds == 4.0
    assert json.loads(lines[0])["seconds"] == 2.0
    assert json.loads(lines[0])["tokens_per_second"] == pytest.approx((101 + 102) / 4)
