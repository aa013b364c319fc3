"""Progress on stderr: a rich line on a terminal, a plain line now and then elsewhere."""

import contextlib
import sys
import time

EVERY = 10  # seconds between plain lines


def say(line):
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def shown(label, unit=""):
    """Shows a phase of the work; yields `advance(amount)`, which adds to its sum.

    A terminal shows a spinner, the sum with its rate, and the time; the line goes when the
    phase ends. Elsewhere the label is printed once, and the sum every `EVERY` seconds.

    Args:
      label: of the phase, e.g. "tokenising".
      unit: of the sum; "" where there is none.
    """
    begun = time.monotonic()
    if sys.stderr.isatty():
        with _rich(label, unit, begun) as advance:
            yield advance
        return
    if not unit:
        say(label)
    last, total = begun, 0.0

    def advance(amount):
        nonlocal last, total
        total += amount
        now = time.monotonic()
        if now - last >= EVERY:
            last = now
            say(_line(label, unit, total, now - begun))

    yield advance


@contextlib.contextmanager
def _rich(label, unit, begun):
    from rich import console, progress

    columns = (
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}", markup=False),
        progress.TimeElapsedColumn(),
    )
    with progress.Progress(
        *columns, console=console.Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task(label, total=None)

        def advance(amount):
            bar.advance(task, amount)
            total = bar.tasks[0].completed
            bar.update(task, description=_line(label, unit, total, time.monotonic() - begun))

        yield advance


def _line(label, unit, total, seconds):
    return f"{label}: {total:,.1f} {unit}, {total / seconds:,.2f} {unit}/s"
