"""Tests of real processes under faults: signals, full disks, closed output, two starts."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
import pytest

from bertgrow.train import metrics

RECIPE = f"{Path(__file__).resolve().parents[1].joinpath('small_recipe.py')}:plain"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def launch(store):
    return processes.launcher("pretrain", RECIPE, store=store)


@pytest.fixture(scope="module")
def finished(launch, tmp_path_factory):
    """A finished run, and the seconds that one takes with compiled programs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    _, seconds = processes.run_undisturbed(launch, folder)
    return folder / "warm", seconds


def kept(workdir):
    """Files that hold results; config.json and TensorBoard are written at each start."""
    return {
        str(path.relative_to(workdir)): path.read_bytes()
        for name in ("metrics.jsonl", "growth", "checkpoints")
        for path in (workdir / name, *(workdir / name).rglob("*"))
        if path.is_file()
    }


def run(store, workdir, *extra, limit=None):
    """Runs the command to its end; returns code, output and errors."""
    words = [sys.executable, "-m", "bertgrow", "pretrain", "--config", RECIPE, *extra]
    words += [f"--config.data.store={store.folder}", "--workdir", str(workdir)]
    set_limit = limit and (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=processes.ROOT, preexec_fn=set_limit
    )
    return done.returncode, done.stdout, done.stderr


def test_signals_at_twelve_moments_end_a_run_that_goes_on_to_equal_metrics(
    launch, finished, tmp_path
):
    undisturbed, seconds = finished
    for moment in range(12):
        # Not SIGINT at 50 ms: Python prints a traceback where it comes before any program.
        sent = (signal.SIGTERM, signal.SIGINT)[moment % 2]
        workdir = tmp_path / str(moment)

        process = launch(workdir)
        time.sleep(0.05 + moment / 11 * seconds)
        process.send_signal(sent)
        sent_at = time.monotonic()
        code = process.wait()

        assert time.monotonic() - sent_at < 20  # 10 s and one save, on a busy machine
        assert code in (0, 75, -sent), processes.said(workdir)
        assert "Traceback" not in processes.said(workdir)
        if code == 75 or moment == 0:
            expected = metrics.read(undisturbed / "metrics.jsonl")
            assert processes.finish_and_compare(launch, workdir, expected) == []


@pytest.mark.parametrize("limit", [1000, 3000, 8000, 20_000, 40_000])
def test_a_file_size_limit_is_one_line_and_the_run_goes_on_without_it(
    store, launch, finished, tmp_path, limit
):
    """The limits end config.json, metrics.jsonl and files of a checkpoint."""
    code, _, error = run(store, tmp_path / "run", limit=limit)

    assert (code, error.count("\n")) == (2, 1), error
    assert "File too large" in error and str(tmp_path) in error
    expected = metrics.read(finished[0] / "metrics.jsonl")
    assert processes.finish_and_compare(launch, tmp_path / "run", expected) == []


def test_closed_output_does_not_stop_a_run(store, finished, tmp_path):
    words = f"{sys.executable} -m bertgrow pretrain --config {RECIPE} "
    words += f"--config.data.store={store.folder} --workdir {tmp_path / 'run'}"

    done = subprocess.run(
        ["bash", "-c", f"{words} | head -1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, cwd=processes.ROOT,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert (tmp_path / "run" / "checkpoints" / "checksums" / "8.json").exists()


def test_of_two_starts_at_once_one_trains_and_the_other_is_one_line(launch, finished, tmp_path):
    for number in range(10):
        workdirs = [tmp_path / str(number), tmp_path / str(number)]
        both = [launch(workdir) for workdir in workdirs]
        codes = sorted(process.wait() for process in both)

        said = processes.said(workdirs[0])
        assert codes in ([0, 2], [0, 0]), said  # both, if one began after the other ended
        if codes == [0, 2]:
            assert "another run writes in" in said
        expected = metrics.read(finished[0] / "metrics.jsonl")
        rows = metrics.read(workdirs[0] / "metrics.jsonl")
        assert metrics.differences(expected, rows) == []


def remove_checksums(workdir):
    shutil.rmtree(workdir / "checkpoints" / "checksums")


def remove_checkpoints(workdir):
    shutil.rmtree(workdir / "checkpoints")


def empty_checksums(workdir):
    for path in (workdir / "checkpoints" / "checksums").iterdir():
        path.write_text('{"files": {}}')


def remove_metrics(workdir):
    (workdir / "metrics.jsonl").unlink()


def shorten_metrics(workdir):
    path = workdir / "metrics.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))


def remove_config(workdir):
    (workdir / "config.json").unlink()


@pytest.mark.parametrize(
    "damage, words",
    [
        (remove_checksums, "it has no checksum file"),
        (remove_checkpoints, "checkpoints is empty or missing"),
        (empty_checksums, "is not in its checksum file"),
        (remove_metrics, "metrics.jsonl is missing"),
        (shorten_metrics, "metrics.jsonl has"),
        (remove_config, "no config.json"),
    ],
)
def test_a_damaged_run_is_not_overwritten_and_restart_moves_it_aside(
    store, finished, tmp_path, damage, words
):
    workdir = tmp_path / "run"
    shutil.copytree(finished[0], workdir)
    damage(workdir)
    before = kept(workdir)

    for extra in ([], ["--config.model.width=32"]):
        code, _, error = run(store, workdir, *extra)

        assert (code, error.count("\n")) == (2, 1), error
        assert extra or (words in error and "--restart" in error)
        assert kept(workdir) == before

    code, output, error = run(store, workdir, "--restart")

    assert code == 0, error
    assert "moved the files of the earlier run to" in output
    (aside,) = workdir.glob("aside-*")
    assert kept(aside) == before
    assert json.loads((workdir / "config.json").read_text())["saved"]
