"""Tests of real processes under faults: full disks, closed output, signals, two starts."""

import json
import shutil
import signal
import subprocess
import sys
import time

import limits
import processes
import pytest
import small_runs
from small_runs import pretrain

from bertgrow.train import metrics

RECIPE = f"{small_runs.RECIPE}:plain"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def launch(store):
    return processes.launcher("pretrain", RECIPE, store=store)


@pytest.fixture(scope="module")
def piped(store, tmp_path_factory):
    """A run whose output nobody reads after the first line: its end, and its folder."""
    workdir = tmp_path_factory.mktemp("piped") / "run"
    words = f"{sys.executable} -m bertgrow pretrain --config {RECIPE} "
    words += f"--config.data.store={store.folder} --workdir {workdir}"
    done = subprocess.run(
        ["bash", "-c", f"{words} | head -1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, cwd=processes.ROOT,
    )  # fmt: skip
    return done, workdir


@pytest.fixture(scope="module")
def finished(piped):
    return piped[1]


def kept(workdir):
    """Files that hold results; config.json and TensorBoard are written at each start."""
    return {
        str(path.relative_to(workdir)): path.read_bytes()
        for name in ("metrics.jsonl", "growth", "checkpoints")
        for path in (workdir / name, *(workdir / name).rglob("*"))
        if path.is_file()
    }


def test_closed_output_does_not_stop_a_run(piped):
    done, workdir = piped

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert (workdir / "checkpoints" / "checksums" / "8.json").exists()


def test_a_file_size_limit_is_one_line_and_the_run_goes_on_without_it(
    store, launch, finished, tmp_path
):
    """The limits end config.json, metrics.jsonl and files of a checkpoint, in one run."""
    words = [sys.executable, "-m", "bertgrow", "pretrain", "--config", RECIPE]
    words += [f"--config.data.store={store.folder}", "--workdir", str(tmp_path / "run")]

    for limit in (1000, 3000, 8000, 20_000, 40_000):
        with limits.file_size(limit):  # the process inherits it; its output are pipes
            done = subprocess.run(words, capture_output=True, text=True, cwd=processes.ROOT)

        assert (done.returncode, done.stderr.count("\n")) == (2, 1), (limit, done.stderr)
        assert "File too large" in done.stderr and str(tmp_path) in done.stderr
    expected = metrics.read(finished / "metrics.jsonl")
    assert processes.finish_and_compare(launch, tmp_path / "run", expected) == []


def test_signals_at_twelve_moments_end_a_run_that_goes_on_to_equal_metrics(
    launch, finished, tmp_path
):
    """A run goes on from one moment to the next; where it has ended, another one begins."""
    expected = metrics.read(finished / "metrics.jsonl")
    began = time.monotonic()
    assert processes.finish_and_compare(launch, tmp_path / "warm", expected) == []
    seconds = time.monotonic() - began
    workdir, codes = tmp_path / "0", []

    for moment in range(12):
        # Not SIGINT at 50 ms: Python prints a traceback where it comes before any program.
        sent = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[moment % 3]
        process = launch(workdir)
        time.sleep(0.05 + moment / 11 * seconds)
        process.send_signal(sent)
        sent_at = time.monotonic()
        codes.append(process.wait())

        assert time.monotonic() - sent_at < 20  # 10 s and one save, on a busy machine
        assert codes[-1] in (0, 75, -sent), processes.said(workdir)
        assert "Traceback" not in processes.said(workdir)
        if codes[-1] == 0:
            rows = metrics.read(workdir / "metrics.jsonl")
            assert metrics.differences(expected, rows) == []
            workdir = tmp_path / str(moment + 1)

    assert codes.count(75) >= 3
    assert processes.finish_and_compare(launch, workdir, expected) == []


def test_of_two_starts_at_once_one_trains_and_the_other_is_one_line(launch, finished, tmp_path):
    """Ten times; the one that trains is killed, and the next two meet what it has left."""
    workdir = tmp_path / "run"

    for _ in range(10):
        both = [launch(workdir), launch(workdir)]
        while all(process.poll() is None for process in both):
            time.sleep(0.05)
        ended, other = sorted(both, key=lambda process: process.poll() is None)
        other.kill()

        # 0: it trained to its end before the other one had opened the folder.
        assert ended.returncode in (0, 2), processes.said(workdir)
        assert other.wait() in (-9, 0), processes.said(workdir)
    assert "another run writes in" in processes.said(workdir)

    expected = metrics.read(finished / "metrics.jsonl")
    assert processes.finish_and_compare(launch, workdir, expected) == []


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
    store, finished, tmp_path, capsys, damage, words
):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    damage(workdir)
    before = kept(workdir)

    for extra in ([], ["--config.model.width=32"]):
        code = pretrain(store, workdir, *extra, variant=":plain")

        error = capsys.readouterr().err
        assert (code, error.count("\n")) == (2, 1), error
        assert extra or (words in error and "--restart" in error)
        assert kept(workdir) == before

    assert pretrain(store, workdir, "--restart", variant=":plain") == 0

    assert "moved the files of the earlier run to" in capsys.readouterr().out
    (aside,) = workdir.glob("aside-*")
    assert kept(aside) == before
    assert json.loads((workdir / "config.json").read_text())["saved"]
