"""Progress on stderr: a live line on a terminal, else a plain line every few seconds."""

import contextlib
import sys
import time

EVERY = 10  # seconds between plain lines


def log(line):
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def phase(label, unit=""):
    """Shows the progress of one phase; yields `advance(amount)`, which adds to its total.

    A terminal shows a spinner, the total, the speed and the time. The line is cleared when
    the phase ends. If stderr is not a terminal, the total is printed at most every `EVERY`
    seconds. A phase without a unit prints its label once, at the start.

    Args:
      label: name of the phase, e.g. "tokenising".
      unit: unit of the total; "" if the phase counts nothing.
    """
    begin = time.monotonic()
    if sys.stderr.isatty():
        with _rich(label, unit, begin) as advance:
            yield advance
        return
    if not unit:
        log(label)
    last, total = begin, 0.0

    def advance(amount):
        nonlocal last, total
        total += amount
        current = time.monotonic()
        if current - last >= EVERY:
            last = current
            log(_line(label, unit, total, current - begin))

    yield advance


@contextlib.contextmanager
def _rich(label, unit, begin):
    from rich import console, progress

    columns = (
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}", markup=False),
        progress.TimeElapsedColumn(),
    )
    with progress.Progress(
        *columns, console=console.Console(stderr=True), transient=True
    ) as bar:
        bar.console.show_cursor(True)  # it would stay hidden when a signal ends the process
        task = bar.add_task(label, total=None)

        def advance(amount):
            bar.advance(task, amount)
            total = bar.tasks[0].completed
            bar.update(task, description=_line(label, unit, total, time.monotonic() - begin))

        yield advance


def _line(label, unit, total, seconds):
    return f"{label}: {total:,.1f} {unit}, {total / seconds:,.2f} {unit}/s"
