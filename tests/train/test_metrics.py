"""Tests of the metrics file: it survives kills and restarts; two runs can be compared."""

import json
import math
import subprocess
import sys

import jax.numpy as jnp
import limits
import pytest

from bertgrow.core import errors
from bertgrow.train import environment, metrics


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with metrics.Writer(path) as writer:
        for step in (1, 2, 2, 3):
            writer.write({"step": step, "split": "train", "loss": jnp.float32(1 / step)})
    return path


def test_rows_are_on_disk_at_once(tmp_path):
    with metrics.Writer(tmp_path / "metrics.jsonl") as writer:
        writer.write({"step": 1, "loss": jnp.float32(0.1)})

        assert metrics.read(tmp_path / "metrics.jsonl") == [
            {"step": 1, "loss": float(jnp.float32(0.1))}
        ]


def test_cutting_keeps_the_rows_up_to_the_step(path):
    metrics.cut(path, 2)

    assert [row["step"] for row in metrics.read(path)] == [1, 2, 2]


def test_cutting_leaves_the_kept_lines_as_they_were(path):
    before = path.read_text().splitlines()

    metrics.cut(path, 2)

    assert path.read_text().splitlines() == before[:3]


@pytest.mark.parametrize("half", ['{"st', '{"step": 2}'])
def test_a_half_written_last_line_is_dropped(path, half):
    with path.open("a") as stream:
        stream.write(half)

    assert len(metrics.read(path)) == 4
    metrics.cut(path, 9)
    with metrics.Writer(path) as writer:
        writer.write({"step": 4})
    assert [row["step"] for row in metrics.read(path)] == [1, 2, 2, 3, 4]


def test_a_damaged_line_in_the_middle_is_named(path):
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')

    with pytest.raises(errors.InputError, match="line 2"):
        metrics.read(path)


def test_cutting_a_file_that_does_not_exist_does_nothing(tmp_path):
    metrics.cut(tmp_path / "absent", 3)

    assert not (tmp_path / "absent").exists()


def test_equal_runs_may_differ_in_time_alone():
    one = [{"step": 1, "loss": 0.1, "seconds": 1.0}, {"step": 2, "loss": math.nan}]
    other = [{"step": 1, "loss": 0.1, "seconds": 9.0}, {"step": 2, "loss": math.nan}]

    assert metrics.differences(one, other) == []


def test_the_last_bit_of_a_figure_is_a_difference():
    one = [{"step": 1, "loss": 0.1}]
    other = [{"step": 1, "loss": math.nextafter(0.1, 1)}]

    assert metrics.differences(one, other) == ["step 1 loss: 0.1 and 0.10000000000000002"]


def test_a_missing_row_or_figure_is_a_difference():
    assert metrics.differences([{"step": 1}], []) == ["1 rows and 0 rows"]
    assert metrics.differences([{"step": 1, "a": 1}], [{"step": 1}]) == ["step 1 a: 1 and null"]


def test_tensorboard_gets_the_same_figures(tmp_path):
    with metrics.Writer(tmp_path / "m.jsonl", tensorboard=tmp_path / "board") as writer:
        writer.write({"step": 7, "split": "eval", "mask_loss": 1.5})

    (events,) = (tmp_path / "board").iterdir()
    assert b"eval/mask_loss" in events.read_bytes()


def test_tensorboard_does_not_import_torch(tmp_path):
    """Where it is installed, it takes seconds of every start; scalars do not use it."""
    program = (
        "import sys; from bertgrow.train import metrics; "
        f"metrics.Writer({str(tmp_path / 'm')!r}, tensorboard={str(tmp_path / 'board')!r}); "
        "sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_a_full_disk_leaves_whole_rows_and_names_the_file(path):
    before = path.read_bytes()

    with metrics.Writer(path) as writer, limits.file_size(len(before) + 10):
        with pytest.raises(OSError, match="File too large") as failed:
            writer.write({"step": 4, "split": "train", "loss": 0.25})
        digest = writer.digest()

    assert failed.value.filename == str(path)
    assert path.read_bytes() == before
    assert digest["bytes"] == len(before)


def test_the_environment_can_be_stored_and_compared():
    now = environment.describe()
    saved = json.loads(json.dumps(now))

    assert environment.differences(saved, now) == []
    saved["threads"] += 1
    saved["versions"]["jax"] = "0.1"
    lines = environment.differences(saved, now)
    assert [line.split(":")[0] for line in lines] == ["threads", "versions"]


def test_threads_of_the_host_do_not_count_on_an_accelerator():
    one, other = {"device": "TPU v5e", "threads": 8}, {"device": "TPU v5e", "threads": 9}

    assert environment.differences(one, other) == []


@pytest.mark.parametrize("bad", [{"loss": math.nan}, {"loss": 1.0, "grad_norm": math.inf}])
def test_a_diverged_step_is_named_with_its_rows_and_the_last_good_checkpoint(bad):
    with pytest.raises(
        errors.CheckFailed,
        match="at step 12, sequences 88 to 95; the last good checkpoint is 10",
    ):
        metrics.check_finite(bad, step=12, position={"row": 96}, rows=8, checkpoint=10)


def test_a_finite_step_passes():
    metrics.check_finite(
        {"loss": jnp.float32(3), "grad_norm": 1.0}, step=1, position={"row": 8}, rows=8
    )
