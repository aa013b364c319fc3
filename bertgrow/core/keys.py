"""Derives random keys for each purpose from the key of the run."""

import enum

import jax

# Version of the scheme below. A teacher cache of another version is refused; a run of another
# version continues, with a `change` in its metrics.
VERSION = 2


@enum.unique
class Purpose(enum.IntEnum):
    """Purpose of a key. The comments list the numbers that are folded in after it."""

    PARAMS = 0  # initial parameters of a run
    DROPOUT = 1  # step
    MASKS = 2  # both columns of a sequence's `ids`
    NEW_PARAMS = 3  # start of the stage: freshly initialised layers and units
    COPIES = 4  # start of the stage: which units are copied, and noise on copies
    LIGO_MAPS = 5  # start of the stage
    STUDENT = 6  # start of the stage


def derive(key, purpose, *numbers):
    """Folds a purpose and then each number into a key.

    Args:
      key: random key of the run.
      purpose: `Purpose`; two purposes give different keys for all numbers.
      numbers: int or uint32 scalars, e.g. the step.
    """
    for number in (purpose, *numbers):
        key = jax.random.fold_in(key, number)
    return key
