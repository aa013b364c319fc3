"""Rivals timed in turns, so that what else a machine does meets them all alike."""

import json
import os
import statistics
import time


def alternate(sides, rounds, rest=0.5):
    """Runs every side once in each round, in order: A B A B.

    Args:
      sides: {name: function}; each does its work and returns how many units it did.
      rounds: int.
      rest: seconds between sides, for the threads of the last one to fall asleep.

    Returns:
      {name: list of units a second, one for each round}.
    """
    rates = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            time.sleep(rest)
            begun = time.perf_counter()
            units = work()
            rates[name].append(units / (time.perf_counter() - begun))
    return rates


def ratio(rates, ours, theirs):
    """Median over rounds of how many times faster `ours` was than `theirs` just after it."""
    return statistics.median(a / b for a, b in zip(rates[ours], rates[theirs], strict=True))


def medians(rates):
    """{name: median}."""
    return {name: statistics.median(values) for name, values in rates.items()}


def show(title, rates, unit):
    """Prints the median of every side and how far its rounds lie apart."""
    print(title)
    for name, values in rates.items():
        spread = f"{min(values):,.1f} to {max(values):,.1f}"
        print(f"  {name:<42} {statistics.median(values):>12,.1f} {unit}   ({spread})")


def show_ratio(name, value, target=None):
    """Prints a named row, e.g. `tiny: ours / stock ... 2.71x   (target 2.5x: met)`."""
    verdict = "" if target is None else "met" if value >= target else "missed"
    print(f"{name} ... {value:.2f}x" + (f"   (target {target}x: {verdict})" if target else ""))


def finish(results, *, as_json):
    """Prints the load of the machine, and all results as one line of JSON where asked."""
    load = os.getloadavg()[0]
    print(f"load average at the end: {load:.1f} on {os.cpu_count()} cores")
    if as_json:
        print(json.dumps(results | dict(load=load, cores=os.cpu_count())))
