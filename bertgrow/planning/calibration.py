"""Times a few training steps of a stage on the present devices."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core.errors import InputError
from bertgrow.core.types import Vocab
from bertgrow.planning import memory
from bertgrow.train import loop, sharding

WARM_UP, TIMED = 3, 20


def seconds_per_step(stage, mesh, *, vocab_size, accumulate=1, start=0):
    """Seconds per step of a `Stage` on random tokens: the mean of 20 after 3 warm-up ones.

    The 20 steps are spread evenly over the stage, which begins at step `start`, because the
    work of a step may depend on its number, as in layer phases. Reading data, evaluating and
    saving are not included.
    """
    shardings = sharding.state_shardings(stage.task, stage.optimizer, mesh)
    batch = sharding.put(random_batch(stage.batch, stage.length, vocab_size), mesh)
    try:
        task = stage.task._replace(frozen=_constant_weights(stage, mesh))
        state = loop.initial_state(task, stage.optimizer, jax.random.key(0), shardings)
        step = loop.compile_step(
            task, stage.optimizer, state, batch, mesh, accumulate=accumulate
        )
        for number in range(WARM_UP + TIMED):
            if number == WARM_UP:
                jax.block_until_ready(state)
                begin = time.perf_counter()
            run_step = start + (2 * max(0, number - WARM_UP) + 1) * stage.steps // (2 * TIMED)
            state = state._replace(step=jax.device_put(np.int32(run_step), state.step.sharding))
            state, _ = step(state, task.frozen, batch)
        jax.block_until_ready(state)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise InputError(
            f"stage {stage.name}: a batch of {stage.batch} sequences does not fit on "
            f"{mesh.size} x {jax.devices()[0].device_kind}; lower config.batch, raise "
            "config.accumulate or set config.model.remat=full"
        ) from error
    return (time.perf_counter() - begin) / TIMED


def _constant_weights(stage, mesh):
    """Constant arrays in place of the frozen weights, which are not trained yet."""
    shapes = memory.frozen(stage, mesh)
    fill = functools.partial(jax.tree.map, lambda leaf: jnp.full(leaf.shape, 0.01, leaf.dtype))
    shardings = jax.tree.map(lambda leaf: leaf.sharding, shapes)
    return jax.jit(lambda: fill(shapes), out_shardings=shardings)()


def random_batch(sequences, length, vocab_size):
    """Sequences of random ordinary tokens without padding, with two segments each."""
    generator = np.random.default_rng(0)
    numbers = np.arange(sequences)
    return dict(
        tokens=generator.integers(5, vocab_size, (sequences, length), np.int32),
        types=np.tile((np.arange(length) >= length // 2).astype(np.int32), (sequences, 1)),
        ids=np.stack([numbers, numbers], axis=1).astype(np.uint32),
        is_random=(numbers % 2).astype(np.int32),
    )


def vocabulary(size):
    """A `Vocab` of placeholder tokens: five special tokens, then word starts."""
    numbers = np.arange(size)
    return Vocab(size, 0, 1, 2, 3, 4, starts=numbers >= 5, special=numbers < 5)
