"""AdamW whose learning rate is part of its state.

So runs that differ in learning rate, warm-up and number of steps share one compiled step. The
values are those of the schedule `linear` of a recipe.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bertgrow.train import optimizers


class LinearState(NamedTuple):
    """The schedule, and the learning rate of the last update for the metrics."""

    rate: Any  # float32 scalars
    peak: Any
    warmup: Any
    total: Any


def make(config, axes, schedule, *, steps, frozen):
    """Makes the optimizer.

    Args:
      config: `optimizers.AdamW`.
      axes: the parameter tree with a `jax.P` of axis names at every leaf.
      schedule: `recipes.optimization.Linear`.
      steps: of the run.
      frozen: names of modules that are not trained.
    """
    chain = optax.chain(
        optax.clip_by_global_norm(config.clip),
        optimizers.scale_by_adam(config.b1, config.b2, config.eps, config.bias_correction),
        optimizers.add_decay(axes, config.weight_decay),
        _scale_by_linear(schedule.peak, schedule.warmup, steps),
    )
    return optimizers.freeze(chain, axes, frozen)


def _scale_by_linear(peak, warmup, total):
    """Multiplies updates by minus the learning rate; it rises over `warmup` steps to the line
    that falls from `peak` to 0 at the last of `total` steps.
    """

    def init(params):
        del params
        return LinearState(*(jnp.float32(value) for value in (0, peak, warmup, total)))

    def update(updates, state, params=None, *, step, **extra):
        del params, extra
        number = (step + 1).astype(jnp.float32)
        decay = jnp.maximum(state.total - number, 0) / state.total
        rate = state.peak * decay * jnp.clip(number / jnp.maximum(state.warmup, 1), 0, 1)
        return jax.tree.map(lambda each: -rate * each, updates), state._replace(rate=rate)

    return optax.GradientTransformationExtraArgs(init, update)
