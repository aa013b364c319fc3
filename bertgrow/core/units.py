"""Formats numbers with SI prefixes, and durations."""

import math

PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
CLOCK = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def prefix(value):
    """(factor, prefix) that scale `value` to 1 to 1000, e.g. (1e6, "M") for 2.4e6."""
    if not value or not math.isfinite(value):
        return 1.0, ""
    power = int(math.floor(math.log10(abs(value)) / 3 + 1e-9))
    power = min(max(power, 0), len(PREFIXES) - 1)
    return 1000.0**power, PREFIXES[power]


def si(value, unit=""):
    """`1.24 GFLOP/s` for (1.24e9, "FLOP/s"); a dash for None or a value that is not finite."""
    if value is None or not math.isfinite(value):
        return "-"
    factor, letter = prefix(float(f"{value:.3g}"))  # 999.9 rounds up to the next prefix
    return f"{value / factor:.3g} {letter}{unit}".rstrip()


def plain(value):
    """Formats a number without an exponent if it is large: `0.489`, `1,308,515`.

    Numbers below 100 have three digits.
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def short(seconds):
    """Formats the time of a step: `5.37 s`, `39.8 ms`, `51.8 us`."""
    units = ((1, "s"), (1e-3, "ms"), (1e-6, "us"))
    size, name = next((each for each in units if seconds >= 0.9995 * each[0]), units[-1])
    return f"{plain(seconds / size)} {name}"


def duration(seconds):
    """Formats a duration with at most two units: `2 h 05 min`, `48 s`, `3.2 s`."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    seconds = round(seconds)
    for (size, name), (smaller, lesser) in zip(CLOCK, CLOCK[1:], strict=False):
        if seconds >= size:
            return f"{seconds // size} {name} {seconds % size // smaller:02d} {lesser}"
    return f"{seconds} s"


def aligned(rows):
    """Formats a table as lines: first column left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])
