"""Runs a command of this package in the test process; its errors stay exceptions."""

import argparse
import json
import time


def run(command, *words):
    """Calls `command.main` with the arguments `words`; returns its exit code."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.add_arguments(parser)
    args = parser.parse_args([str(word) for word in words])
    args.start = time.monotonic()
    return command.main(args) or 0


def printed(capsys, command, *words):
    """The JSON that a command prints with `--json`."""
    capsys.readouterr()
    assert run(command, *words, "--json") == 0
    return json.loads(capsys.readouterr().out)
