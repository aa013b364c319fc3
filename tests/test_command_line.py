"""Tests of the entry point: signals, standard streams, encoding and unexpected errors."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bertgrow import cli
from bertgrow.core import output

COMMAND = [sys.executable, "-m", "bertgrow"]


@pytest.fixture
def command(monkeypatch):
    """Registers a function as `main` of the command `work`; returns how to run it."""

    def run(function):
        class Module:
            __doc__, EPILOG = "Works.", ""
            add_arguments = staticmethod(lambda parser: None)
            main = staticmethod(lambda args: function())

        class Point:
            name, load = "work", staticmethod(lambda: Module)
            module = "bertgrow.commands.report"  # a source without TRAINS

        monkeypatch.setattr(cli, "entry_points", lambda group: [Point])
        monkeypatch.setattr(sys, "stdout", output.Tolerant(sys.stdout))
        return cli.run(["work"])

    return run


def fail(error):
    def function():
        raise error

    return function


def test_an_unexpected_exception_is_one_line_that_names_the_file_of_its_traceback(
    command, capsys, monkeypatch, tmp_path
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    code = command(fail(TypeError("no length\nof it")))

    line = capsys.readouterr().err
    assert code == 1
    pattern = r"bertgrow: unexpected TypeError in work: no length; the traceback is in (.*)\n"
    path = re.fullmatch(pattern, line)[1]
    assert Path(path).read_text().endswith("TypeError: no length\nof it\n")


def test_main_raises_an_unexpected_exception(command, monkeypatch):
    monkeypatch.setattr(cli, "run", cli.main)

    with pytest.raises(TypeError):
        command(fail(TypeError("no length")))


def test_an_error_of_the_system_gives_its_reason_in_one_line(command, capsys):
    code = command(lambda: Path("x" * 300).write_text(""))

    assert code == 2
    assert capsys.readouterr().err == f"bertgrow: {'x' * 300}: File name too long\n"


def test_a_full_disk_names_the_folder_and_its_free_bytes(command, capsys, tmp_path):
    path = str(tmp_path / "index.json")
    code = command(fail(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)))

    assert code == 2
    assert re.fullmatch(
        rf"bertgrow: {path}: No space left on device; {tmp_path} has [\d.]+ .?B free, "
        "make room there\n",
        capsys.readouterr().err,
    )


def test_output_that_is_lost_is_an_error_at_the_end():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "--help"], stdout=full, stderr=subprocess.PIPE)

    assert done.returncode == 2
    assert done.stderr == (
        b"bertgrow: standard output: No space left on device; give it another place\n"
    )


def test_a_closed_pipe_or_stream_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    piped = subprocess.run([*COMMAND, "--help"], stdout=writer, stderr=subprocess.PIPE)
    shell = '"$@" >&- 2>&- <&-'
    closed = subprocess.run(["sh", "-c", shell, "sh", *COMMAND, "--help"])
    os.close(writer)

    assert (piped.returncode, piped.stderr) == (0, b"")
    assert closed.returncode == 0


def test_a_locale_without_unicode_does_not_matter(tmp_path):
    env = os.environ | dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    folder = tmp_path / "モデル"
    done = subprocess.run(
        [*COMMAND, "report", str(folder)], env=env, stderr=subprocess.PIPE, encoding="utf-8"
    )

    assert done.returncode == 2
    assert str(folder) in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_imports_ends_the_process_at_once(number, tmp_path):
    options = ["pretrain", "--config", "demo:grow", "--workdir", str(tmp_path / "run")]
    process = subprocess.Popen([*COMMAND, *options], stderr=subprocess.PIPE)
    time.sleep(0.5)  # JAX alone takes longer to import

    process.send_signal(number)

    try:
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()  # else it would train on
    assert process.returncode == -number
    assert errors == b""


def test_an_ignored_signal_stays_ignored():
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
        "from bertgrow import __main__; __main__._end_on_signals(); "
        "assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN"
    )

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
