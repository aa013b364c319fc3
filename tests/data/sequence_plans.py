"""Measures of a `Plan` of sequences."""

import numpy as np


def num_tokens(plan):
    """Counts the tokens of each sequence without padding: int64 [sequences]."""
    used = np.concatenate([[0], np.cumsum(plan.size + plan.ends)])
    return 1 + np.diff(used[plan.first])
