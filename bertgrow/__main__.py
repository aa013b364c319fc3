"""Entry point of the `bertgrow` command and of `python -m bertgrow`.

Prepares signals, standard streams and the encoding before anything heavy is imported.
"""

import os
import signal
import sys


def start():
    """Runs the command line and ends the process with its exit code."""
    _end_on_signals()
    _open_standard_streams()
    _use_utf8()
    from bertgrow import cli
    from bertgrow.core import output
    from bertgrow.run.processes import watching

    sys.stdout, sys.stderr = map(output.Tolerant, (sys.stdout, sys.stderr))
    if watching.is_child():
        watching.follow_parent()
    code = cli.run(sys.argv[1:])
    if watching.is_child() and code:
        sys.stdout.flush()
        os._exit(code)  # JAX would wait at exit for the others, which may never arrive
    sys.exit(code)


def _end_on_signals():
    """Restores the default action of the signals that end a process.

    Python turns SIGINT into an exception, which an import may swallow. Nothing is lost before a
    command handles signals itself. Signals that the caller ignores, as `nohup` does, stay so.
    """
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, signal.SIG_DFL)


def _open_standard_streams():
    """Connects closed standard streams to the null device.

    Otherwise the next open file gets the number of a standard stream, and receives what
    libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")


def _use_utf8():
    """Starts Python command in UTF-8 mode if the locale has another encoding for file names."""
    if sys.getfilesystemencoding() != "utf-8":
        command = [sys.executable, "-X", "utf8", "-m", "bertgrow", *sys.argv[1:]]
        os.execv(sys.executable, command)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    start()
