"""How a command ends when it does not finish; the door turns each into an exit code."""


class InputError(Exception):
    """Something given is wrong: one line that says what, what was expected, what to change.

    Exit code 2.
    """


class CheckFailed(Exception):
    """A check failed: the run diverged, a claim did not hold, parity was lost. Exit code 1."""


class Stopped(Exception):
    """Everything is saved, and the run was asked to stop early. Exit code 75."""
