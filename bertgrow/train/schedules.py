"""Learning-rate schedules: pure functions of the run's step, `TrainState.step`.

Each function returns `learning_rate(step)`, where `step` counts the updates already made. The
update from step s to s + 1 uses the schedule's value at s + 1, so that the first update of a
run, and of a stage, has a learning rate above zero.
"""

import jax.numpy as jnp


def default(*, peak, total, start=0, warmup=0):
    """Linear decay to zero over the whole run, with a short warm-up in each stage.

    In the stage that starts at step s_k and warms up for w_k steps, the value at step s is
    `peak * (1 - s / S) * min(1, (s - s_k) / w_k)`, where S is the number of steps of all
    stages.

    Args:
      peak: learning rate at the start of the decay.
      total: number of steps of all stages.
      start: step at which this stage starts.
      warmup: warm-up steps of this stage; 0 for none.
    """

    def learning_rate(step):
        number = step + 1
        return peak * jnp.maximum(total - number, 0) / total * _ramp(number - start, warmup)

    return learning_rate


def published(*, peak, end, decay_steps, warmup, start=0):
    """Schedule of the published code, which restarts in every stage.

    Linear decay from `peak` to `end` over `decay_steps`, counted from the start of the stage.
    Warm-up rises to the value of the decay at the last warm-up step, so the learning rate
    stays a little below `peak` (Gu et al., 2021, TensorFlow Model Garden). In that code the
    first update has learning rate zero; here it is above zero (see the module docstring).
    """

    def decayed(steps):
        fraction = jnp.maximum(decay_steps - steps, 0) / decay_steps
        return end + (peak - end) * fraction

    def learning_rate(step):
        number = step + 1 - start
        rising = decayed(warmup) * _ramp(number, warmup)
        return jnp.where(number < warmup, rising, decayed(number))

    return learning_rate


def wsd(*, peak, total, decay_steps, start=0, warmup=0):
    """Warm-up, stable, decay: constant, then linear to zero in the last `decay_steps`.

    Every stage warms up again, as in `default`.
    """

    def learning_rate(step):
        number = step + 1
        decay = jnp.clip((total - number) / max(decay_steps, 1), 0, 1)
        return peak * decay * _ramp(number - start, warmup)

    return learning_rate


def rewind(schedule, steps):
    """Delays a schedule by `steps`, so that a grown model is earlier on it.

    "restart_steps" of Shen et al. (2022), "Staged training", section 4: a grown model gets the
    learning rate of a large model that is equally far in its own run. If a run is delayed by R
    steps, a schedule of `total - R` steps still ends with the run.

    Args:
      schedule: function of the delayed step; its `start` is also a delayed step.
      steps: number of steps by which the schedule is behind the run.
    """
    return lambda step: schedule(step - steps)


def rewarm(is_new, *, start, warmup):
    """Learning-rate factors of a grown axis: new units rise from 1 / warmup to 1, others are 1.

    SPARKLING (Yu et al., 2026) warms up only the new channels in this way.

    Args:
      is_new: bool [size], true at new units.
      start: step of the growth.
      warmup: steps until the factor of new units is 1.

    Returns:
      A function step -> float [size], for `optimizers.scale_by_axis`.
    """
    return lambda step: jnp.where(jnp.asarray(is_new), _ramp(step + 1 - start, warmup), 1.0)


def _ramp(steps, warmup):
    """Linear warm-up from 1 / warmup at the first step of a stage to 1."""
    return jnp.clip(steps / max(warmup, 1), 0, 1)
