"""Exceptions that the command line maps to exit codes."""

EXIT_FAILED, EXIT_INPUT, EXIT_STOPPED = 1, 2, 75


class InputError(Exception):
    """Something given is wrong: one line that says what, what was expected, what to change.

    Exit code 2.
    """


class CheckFailed(Exception):
    """A check failed: the run diverged, a claim did not hold, parity was lost. Exit code 1."""


class Stopped(Exception):
    """Everything is saved, and the run was asked to stop early. Exit code 75."""
