"""Exceptions that the command line maps to exit codes."""

EXIT_FAILED, EXIT_INPUT, EXIT_STOPPED = 1, 2, 75


class InputError(Exception):
    """The user's input is wrong. Exit code 2.

    The message is one line: the value, what was expected, and the field to change.
    """


class CheckFailed(Exception):
    """A check failed: divergence, a broken growth claim, or lost parity. Exit code 1."""


class Stopped(Exception):
    """The run stopped early on request, after it saved a checkpoint. Exit code 75."""
