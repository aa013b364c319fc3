"""Tests that a killed and resumed run equals an uninterrupted one to the bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import toy_task

from bertgrow.train import loop, metrics, sharding
from bertgrow.train.checkpoints import checkpoint, checksums

CHILD = Path(__file__).with_name("child.py")


def child(folder, until, **settings):
    """Starts child.py; the test environment fixes its threads."""
    words = [f"{name}={value}" for name, value in settings.items()]
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(folder), str(until), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def bits(state):
    leaves = jax.tree.leaves(state._replace(key=jax.random.key_data(state.key)))
    return b"".join(np.asarray(leaf).tobytes() for leaf in leaves)


@pytest.mark.parametrize("spec", [{"data": 1}, {"data": 2, "fsdp": 2, "tensor": 2}])
def test_a_restored_run_goes_on_bit_for_bit(tmp_path, spec):
    mesh = sharding.make_mesh(spec, jax.devices()[: np.prod(list(spec.values()))])
    task, optimizer = toy_task.task(), toy_task.optimizer()
    where = sharding.state_shardings(task, optimizer, mesh)

    def train(state, row, until):
        losses, batches = [], toy_task.batches(row)
        for info in loop.steps(task, state, batches, optimizer, until=until, mesh=mesh):
            losses.append(float(info.metrics["loss"]))
            if info.step == 3 and row == 0:  # saved while the donated steps go on
                checkpoints.save(3, info.state, info.position)
        return losses, bits(info.state)

    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        first = loop.initial_state(task, optimizer, jax.random.key(0), where)
        losses, state = train(first, 0, 6)
        checkpoints.wait()
        again, record = checkpoints.restore(3, loop.state_shapes(task, optimizer, mesh))

    resumed, same = train(again, record["row"], 6)
    assert resumed == losses[3:]
    assert same == state


@pytest.mark.slow
def test_kill_9_and_the_same_command_again_give_equal_metrics(tmp_path):
    assert finish(child(tmp_path / "a", 9))[0] == 0

    code, _ = finish(child(tmp_path / "b", 9, die=5))
    assert code == -signal.SIGKILL
    # Killed once more between the end of a save and its checksum file.
    code, output = finish(child(tmp_path / "b", 9, die_in="checksums"))
    assert code == -signal.SIGKILL and "start 4" in output
    code, output = finish(child(tmp_path / "b", 9))
    assert code == 0 and "checkpoint 6 is not used: it has no checksum file" in output

    runs = [metrics.read(tmp_path / name / "metrics.jsonl") for name in "ab"]
    assert [row["step"] for row in runs[0]] == list(range(1, 10))
    assert metrics.differences(*runs) == []


@pytest.mark.slow
def test_kill_9_at_any_moment_leaves_a_good_checkpoint_or_none(tmp_path):
    """Kills at random times; whatever `latest` returns has the bits of the whole run."""
    assert finish(child(tmp_path / "whole", 12))[0] == 0
    rng = np.random.default_rng(0)

    for _ in range(4):
        process = child(tmp_path / "b", 12, slow=0.05)
        for line in process.stdout:
            if line.startswith("step"):
                break
        time.sleep(rng.uniform(0, 0.5))
        os.kill(process.pid, signal.SIGKILL)
        finish(process)
    code, output = finish(child(tmp_path / "b", 12))

    assert code == 0, output
    runs = [metrics.read(tmp_path / name / "metrics.jsonl") for name in ("whole", "b")]
    assert metrics.differences(*runs) == []
    assert (
        checksums.reason(
            tmp_path / "b/checkpoints/12", tmp_path / "b/checkpoints/checksums/12.json"
        )
        is None
    )


@pytest.mark.slow
def test_leaving_without_close_never_exits_0_with_a_lost_save(tmp_path):
    code, output = finish(child(tmp_path, 2, leave=1))

    kept = checkpoint.Checkpoints(tmp_path / "checkpoints").latest()
    assert "step 2" in output
    assert code != 0 or kept == 2, output
