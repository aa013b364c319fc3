"""Alternating timing of several functions, so that other load affects all of them equally."""

import json
import os
import statistics
import time


def alternate(sides, rounds, rest=0.5):
    """Times every function once per round, in order: A B A B.

    Args:
      sides: {name: function}; each does its work and returns the number of units done.
      rounds: int.
      rest: seconds between functions, so that threads of the last one become idle.

    Returns:
      {name: list of units per second, one for each round}.
    """
    rates = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            time.sleep(rest)
            begun = time.perf_counter()
            units = work()
            rates[name].append(units / (time.perf_counter() - begun))
    return rates


def ratio(rates, first, second):
    """Median over rounds of the rate of `first` divided by that of `second`."""
    return statistics.median(a / b for a, b in zip(rates[first], rates[second], strict=True))


def medians(rates):
    """{name: median}."""
    return {name: statistics.median(values) for name, values in rates.items()}


def show(title, rates, unit):
    """Prints median, minimum and maximum of every function over the rounds."""
    print(title)
    for name, values in rates.items():
        spread = f"{min(values):,.1f} to {max(values):,.1f}"
        print(f"  {name:<42} {statistics.median(values):>12,.1f} {unit}   ({spread})")


def show_ratio(name, value, target=None):
    """Prints a named ratio, e.g. `tiny: bertgrow / stock ... 2.71x   (target 2.5x: met)`."""
    verdict = "" if target is None else "met" if value >= target else "missed"
    print(f"{name} ... {value:.2f}x" + (f"   (target {target}x: {verdict})" if target else ""))


def finish(results, *, as_json):
    """Prints the load of the machine and, with `as_json`, all results as one line of JSON."""
    load = os.getloadavg()[0]
    print(f"load average at the end: {load:.1f} on {os.cpu_count()} cores")
    if as_json:
        print(json.dumps(results | dict(load=load, cores=os.cpu_count())))
