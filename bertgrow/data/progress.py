"""Progress on stderr: a rich line on a terminal, a plain line now and then elsewhere."""

import contextlib
import sys
import time

EVERY = 10  # seconds between plain lines


def say(line):
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def shown(label, unit):
    """Yields `advance(amount)`; shows the sum as it grows."""
    if sys.stderr.isatty():
        with _rich(label, unit) as advance:
            yield advance
        return
    begun = last = time.monotonic()
    total = 0.0

    def advance(amount):
        nonlocal total, last
        total += amount
        now = time.monotonic()
        if now - last >= EVERY:
            last = now
            say(f"{label}: {total:,.1f} {unit}, {total / (now - begun):,.2f} {unit}/s")

    yield advance


@contextlib.contextmanager
def _rich(label, unit):
    from rich import console, progress

    columns = (
        progress.SpinnerColumn(),
        progress.TextColumn(f"{label}: {{task.completed:,.1f}} {unit}"),
        progress.TimeElapsedColumn(),
    )
    with progress.Progress(
        *columns, console=console.Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task(label, total=None)
        yield lambda amount: bar.advance(task, amount)
