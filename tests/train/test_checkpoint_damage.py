"""Tests of checkpoints: an incomplete or damaged one is not used."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toy_task

from bertgrow.train.checkpoints import checkpoint

ROOT = Path(__file__).parents[2]


def largest(folder):
    files = [file for file in folder.rglob("*") if file.is_file()]
    return max(files, key=lambda file: file.stat().st_size)


def flip_a_bit(folder):
    file = largest(folder)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def cut_short(folder):
    file = largest(folder)
    file.write_bytes(file.read_bytes()[:-1])


def remove_a_file(folder):
    largest(folder).unlink()


def remove_the_checksum(folder):
    (folder.parent / "checksums" / f"{folder.name}.json").unlink()


def garble_the_checksum(folder):
    (folder.parent / "checksums" / f"{folder.name}.json").write_text('{"fil')


DAMAGES = [
    (flip_a_bit, "has changed since it was written"),
    (cut_short, r"has \d+ bytes instead of \d+"),
    (remove_a_file, "is missing"),
    (remove_the_checksum, "no checksum file"),
    (garble_the_checksum, "checksum file 3.json is damaged"),
]


@pytest.mark.parametrize("damage, words", DAMAGES)
def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_used(
    three, state, damage, words
):
    damage(three / "3")
    lines = []

    with checkpoint.Checkpoints(three) as checkpoints:
        step = checkpoints.latest(report=lines.append)
        restored, record = checkpoints.restore(
            step, toy_task.shapes(toy_task.mesh({"data": 1}))
        )

    assert step == 2 and record == {"row": 20}
    (line,) = lines
    assert line.startswith("checkpoint 3 is not used")
    assert re.search(words, line)
    for a, b in zip(toy_task.arrays(state), toy_task.arrays(restored), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_damaged_step_can_be_saved_again(three, state):
    flip_a_bit(three / "3")

    with checkpoint.Checkpoints(three, keep=3) as checkpoints:
        checkpoints.latest(report=lambda line: None)
        checkpoints.save(3, state, {"row": 31})
        checkpoints.wait()

        assert checkpoints.latest() == 3
        assert checkpoints.record(3) == {"row": 31}


def test_reading_changes_nothing_on_disk(three):
    remove_the_checksum(three / "3")
    (three / "4.orbax-checkpoint-tmp").mkdir()
    (three / "9").mkdir()
    before = sorted(map(str, three.rglob("*")))

    with checkpoint.Checkpoints(three) as checkpoints:
        assert checkpoints.latest(report=lambda line: None) == 2

    assert sorted(map(str, three.rglob("*"))) == before


def test_leftovers_of_a_killed_process_are_removed_by_the_next_save(three, state):
    remove_the_checksum(three / "3")
    (three / "4.orbax-checkpoint-tmp").mkdir()
    (three / "9").mkdir()

    with checkpoint.Checkpoints(three, keep=3) as checkpoints:
        assert checkpoints.latest(report=lambda line: None) == 2
        checkpoints.save(5, state, {})

    assert sorted(entry.name for entry in three.iterdir()) == ["1", "2", "5", "checksums"]


def test_the_checksum_file_lists_every_file(three):
    table = json.loads((three / "checksums" / "3.json").read_text())["files"]

    files = {str(f.relative_to(three / "3")) for f in (three / "3").rglob("*") if f.is_file()}
    assert set(table) == files


@pytest.mark.slow
def test_kill_9_in_the_middle_of_a_save_leaves_the_one_before(tmp_path):
    """A state of 100 MB is being written when the process is killed."""
    script = f"""
import os, sys, time, threading
import jax, jax.numpy as jnp
sys.path[:0] = [{str(ROOT)!r}]
from bertgrow.core.types import TrainState
from bertgrow.train.checkpoints import checkpoint
noise = jax.random.normal(jax.random.key(0), (25_000_000,))
state = TrainState(jnp.int32(0), {{"w": noise}}, (), jax.random.key(1))
checkpoints = checkpoint.Checkpoints({str(tmp_path)!r})
checkpoints.save(1, state, {{}})
checkpoints.wait()
checkpoints.save(2, state, {{}})
time.sleep(float(sys.argv[1]))
os.kill(os.getpid(), 9)
"""
    for delay in (0.0, 0.05, 0.15):
        done = subprocess.run([sys.executable, "-c", script, str(delay)], timeout=120)
        assert done.returncode == -signal.SIGKILL
        lines = []
        step = checkpoint.Checkpoints(tmp_path).latest(report=lines.append)
        assert step == 1 or (step == 2 and not lines)
        for entry in tmp_path.iterdir():
            shutil.rmtree(entry)
