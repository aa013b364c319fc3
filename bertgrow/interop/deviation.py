"""Measures how far another program's model is from ours, where its classes differ."""

import jax
import numpy as np

from bertgrow.core.errors import CheckFailed
from bertgrow.core.layouts import HUGGING_FACE
from bertgrow.models import families

BUDGET = 1e-4  # relative, of Hugging Face's outputs
SEQUENCES, LENGTH = 4, 32  # of the fixed random batch


def check(model, program):
    """Describes the difference of a `Pretrained` in another program.

    Args:
      model: `Pretrained`.
      program: "hf", "tf1" or "bertgrow".

    Returns:
      A line with the measured deviation; None if the program computes the same.

    Raises:
      CheckFailed: in Hugging Face's class the outputs differ by more than `BUDGET`.
    """
    variant = families.find(model.family).layouts.variant(model.config, program)
    if variant is None:
        return None
    config, difference = variant
    measured = measure(model, config)
    line = f"{difference}: outputs differ by {measured:.1e} of their largest magnitude"
    if program == HUGGING_FACE and measured > BUDGET:
        raise CheckFailed(f"{line}, above {BUDGET:g}: use --to bertgrow, or train further")
    return line


def measure(model, config):
    """Largest relative difference of hidden states and logits on a fixed random batch.

    Args:
      model: `Pretrained`.
      config: another configuration of the same weights.
    """
    draw, length = np.random.default_rng(0), min(LENGTH, config.max_length)
    tokens = draw.integers(0, config.vocab_size, (SEQUENCES, length)).astype(np.int32)
    inputs = dict(
        tokens=tokens, types=np.zeros_like(tokens), mask=np.ones(tokens.shape, bool),
        positions=np.tile(np.arange(length, dtype=np.int32), (SEQUENCES, 1)),
    )  # fmt: skip
    family = families.find(model.family)

    def outputs(config):
        named = jax.jit(family.network(config).apply)(model.params, inputs)
        return [np.asarray(named[name], np.float32) for name in ("hidden", "mlm_logits")]

    pairs = zip(outputs(model.config), outputs(config), strict=True)
    return float(max(np.abs(a - b).max() / np.abs(a).max() for a, b in pairs))
