"""The learning rate as a pure function of the run's step, `TrainState.step`.

Each function returns `rate(step)`, where `step` counts the updates already made. The update
that makes step s into s + 1 uses the schedule's value at s + 1, so that the first update of
a run, and of a stage, has a rate above zero.
"""

import jax.numpy as jnp


def default(*, peak, total, start=0, warmup=0):
    """One line down to zero over the whole run, with a short re-warm-up in each stage.

    In the stage that starts at step s_k and warms up for w_k steps, the value at step s is
    `peak * (1 - s / S) * min(1, (s - s_k) / w_k)`, S being the steps of all stages.

    Args:
      peak: the rate from which the line starts.
      total: steps of the whole run, over all stages.
      start: step at which this stage starts.
      warmup: steps of this stage's warm-up; 0 for none.
    """

    def rate(step):
        now = step + 1
        return peak * jnp.maximum(total - now, 0) / total * _ramp(now - start, warmup)

    return rate


def published(*, peak, end, decay_steps, warmup, start=0):
    """The restart per stage of the published code; steps count from the stage's start.

    Linear decay from `peak` to `end` over `decay_steps`. Warm-up climbs to the decay curve's
    value at the last warm-up step, so that `peak` itself is never quite reached (Gu et al.,
    2021, TensorFlow Model Garden). That code warms up from a first rate of zero; see the
    module's note on where we differ.
    """

    def decayed(steps):
        left = jnp.maximum(decay_steps - steps, 0) / decay_steps
        return end + (peak - end) * left

    def rate(step):
        now = step + 1 - start
        return jnp.where(now < warmup, decayed(warmup) * _ramp(now, warmup), decayed(now))

    return rate


def wsd(*, peak, total, decay_steps, start=0, warmup=0):
    """Warm-up, stable, decay: constant until the last `decay_steps` of the run, then linear.

    Every stage warms up again, as in `default`.
    """

    def rate(step):
        now = step + 1
        cooling = jnp.clip((total - now) / max(decay_steps, 1), 0, 1)
        return peak * cooling * _ramp(now - start, warmup)

    return rate


def rewind(rate, steps):
    """`rate` with its clock set back by `steps`, so that a grown model is placed earlier on it.

    "restart_steps" of Shen et al. (2022), "Staged training", section 4: a grown model learns
    at the rate of a large one that has come as far in its own run. Where the clock is set
    back by R steps in the run, a schedule of `total - R` steps still ends with the run.

    Args:
      rate: function of a step; its `start` is a step of the clock too.
      steps: how far the clock is behind the run's step.
    """
    return lambda step: rate(step - steps)


def rewarm(is_new, *, start, warmup):
    """The factors of a grown axis: new units rise from 1 / warmup to 1, old ones stay at 1.

    The re-warm-up of new channels alone of SPARKLING (Yu et al., 2026).

    Args:
      is_new: bool [size].
      start: step of the growth.
      warmup: steps until new units learn as fast as the old.

    Returns:
      A function step -> float [size], for `optimizers.scale_by_axis`.
    """
    return lambda step: jnp.where(jnp.asarray(is_new), _ramp(step + 1 - start, warmup), 1.0)


def _ramp(steps, warmup):
    """Rises from 1 / warmup at the first step of a stage to 1."""
    return jnp.clip(steps / max(warmup, 1), 0, 1)
