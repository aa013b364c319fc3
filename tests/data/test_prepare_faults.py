"""Tests of `bertgrow prepare` as a process: signals, limits of file sizes, damaged inputs."""

import os
import resource
import shlex
import signal
import subprocess
import time

import bad_files
import pytest
import slow_prepare
from process_table import descendants, is_alive, start, wait_for

from bertgrow.data.corpus import prepare

pytestmark = pytest.mark.slow


@pytest.fixture
def command(corpus, tmp_path):
    """Starts `prepare` with a number of workers in a process group of its own."""

    def run(workers, **options):
        pipes = dict(stderr=subprocess.PIPE, start_new_session=True, text=True)
        words = ["--workers", workers]
        return slow_prepare.begin(corpus, tmp_path / "store", *words, **pipes, **options)

    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def expected(corpus, tmp_path_factory):
    """The files of a store that was made without faults."""
    folder = tmp_path_factory.mktemp("expected") / "store"
    options = dict(vocab_size=300, vocab_kind="wordpiece", workers=1)
    return contents(prepare.prepare([str(corpus)], folder, **options).folder)


def check_continues(command, folder, expected):
    """Runs the command of the line: the store is that of a call without faults."""
    process = command(2)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert contents(folder) == expected
    return err


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_the_same_command_continues(
    command, tmp_path, expected, workers, number
):
    process = command(workers)
    wait_for(lambda: len(list(tmp_path.glob("store/unfinished/*/parts/*.npz"))) >= 4)
    children = descendants(process.pid)
    begin = time.monotonic()
    os.killpg(process.pid, number)  # as a terminal and a scheduler do
    _, err = process.communicate()

    assert process.returncode == 75 and time.monotonic() - begin < 10
    *_, line = err.splitlines()
    reason, _, resume = line.partition("; continue with: ")
    assert reason == f"stopped early ({number.name}), everything is saved"
    words = shlex.split(resume)
    assert words[:2] == ["bertgrow", "prepare"] and words[-1] == str(workers)
    assert "Traceback" not in err and "Warning" not in err
    wait_for(lambda: not any(map(is_alive, children)), seconds=10)
    assert "continuing" in check_continues(command, tmp_path / "store", expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_anything_is_saved_ends_it_at_once(command, tmp_path, number):
    process = command(2)
    line = process.stderr.readline()
    os.killpg(process.pid, number)
    _, err = process.communicate()

    assert line == "reading text to train a vocabulary\n"
    assert process.returncode == -number
    assert "Traceback" not in err and "Warning" not in err


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("limit", [100, 2_000, 110_000])
def test_a_limit_of_file_sizes_is_one_line_and_the_same_command_continues(
    command, tmp_path, expected, limit, workers
):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = command(workers, preexec_fn=limited)
    _, err = process.communicate()

    assert process.returncode == 2, err
    assert not (tmp_path / "store" / "store.json").exists()
    (line,) = [line for line in err.splitlines() if line.startswith("bertgrow: ")]
    assert line.startswith(f"bertgrow: {tmp_path / 'store'}")
    assert ": File too large; a file may have " in line
    assert "Traceback" not in err
    check_continues(command, tmp_path / "store", expected)


@pytest.mark.parametrize(
    "name", ["second-cut-4.txt.zst", "utf-16-le.txt", "deep.jsonl", "lists.parquet"]
)
def test_a_damaged_input_is_one_line(tmp_path, name):
    cases = [*bad_files.archives(), *bad_files.texts(), *bad_files.json_lines()]
    contents = {case[0]: case[1] for case in [*cases, *bad_files.tables()]}
    (tmp_path / name).write_bytes(contents[name])
    words = ["prepare", "--input", tmp_path / name, "--output", tmp_path / "store"]
    words += slow_prepare.VOCABULARY

    process = start("-m", "bertgrow", *words, stderr=subprocess.PIPE, text=True)
    _, err = process.communicate()

    assert process.returncode == 2
    (line,) = [line for line in err.splitlines() if not line.startswith("reading text")]
    assert line.startswith("bertgrow: ") and name in line
