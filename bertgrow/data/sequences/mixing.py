"""Random numbers as pure functions of integers, equal on every host and NumPy version."""

import numpy as np


def mix(*values):
    """Hashes integers or arrays of integers to uniformly distributed uint64.

    Applies the finaliser of SplitMix64 (Steele, Lea and Flood, 2014) after each value.
    """
    state = np.zeros(1, np.uint64)
    for value in values:
        state = state * np.uint64(0x9E3779B97F4A7C15) + np.asarray(value).astype(np.uint64)
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def order(number, *seeds):
    """Returns the permutation of `range(number)` for the given seeds: int64 [number]."""
    return np.argsort(mix(*seeds, np.arange(number)), kind="stable")


def uniform(numbers, seed):
    """Returns a uniform float64 in [0, 1) for each integer."""
    return (mix(seed, numbers) >> np.uint64(11)) * 2.0**-53
