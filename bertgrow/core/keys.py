"""Derives random keys for each purpose from the key of the run."""

import enum

import jax

# Version of the scheme below. A run of another version continues, with a `change` in its
# metrics.
VERSION = 3
# Version in which the masks last changed. A teacher cache of other masks is refused.
MASKS_VERSION = 2


@enum.unique
class Purpose(enum.IntEnum):
    """Purpose of a key. The comments list the numbers that are folded in after it."""

    PARAMS = 0  # initial parameters of a run
    DROPOUT = 1  # step, and both columns of a sequence's `ids`
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


def of_sequences(key, purpose, *numbers, ids):
    """Derives one key for each sequence, [batch].

    They do not depend on the place of a sequence in the batch, so neither micro-batches nor the
    number of devices change them.

    Args:
      key, purpose, numbers: as in `derive`.
      ids: uint32 [batch, 2], identifies each sequence.
    """
    return jax.vmap(of_sequence, in_axes=(None, 0))(derive(key, purpose, *numbers), ids)


def of_sequence(key, ids):
    """Folds the `ids` of one sequence, uint32 [2], into a key."""
    return jax.random.fold_in(jax.random.fold_in(key, ids[0]), ids[1])
