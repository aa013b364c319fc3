"""Training loop of one stage, as a generator: `for info in steps(...)`.

Each iteration dispatches the step, puts the next batch on the devices while the step runs, and
then yields. Metrics are device scalars. Reading them one step late keeps the devices busy.
"""

import jax
import jax.numpy as jnp
import optax

from bertgrow.core import errors, keys
from bertgrow.core.types import StepInfo, TrainState
from bertgrow.train import gradients, sharding


def steps(task, state, batches, optimizer, *, until, mesh=None, accumulate=1, step=None):
    """Trains from `state.step` to step `until`, yielding a StepInfo after each step.

    Args:
      task: Task.
      state: TrainState on `mesh`; it is donated, so use the state in StepInfo afterwards.
      batches: iterator of batches (dicts of NumPy arrays, this process's part), or of pairs
        (batch, position), where position is the data position after that batch.
      optimizer: optax transformation whose `update` takes `step`.
      until: int, last step, counted over the run.
      mesh: from `sharding.make_mesh`; by default all devices along `data`.
      accumulate: int, number of micro-batches per batch.
      step: compiled function from `compile_step`; compiled here by default.
    """
    mesh = mesh or sharding.make_mesh()
    number, batches = int(state.step), iter(batches)
    frozen = on_mesh(task.frozen, mesh)
    next_batch = _fetch(batches, mesh, number) if number < until else None
    if step is None and next_batch:
        step = compile_step(task, optimizer, state, next_batch[0], mesh, accumulate=accumulate)
    while number < until:
        batch, position = next_batch
        state, metrics = step(state, frozen, batch)
        number += 1
        next_batch = _fetch(batches, mesh, number) if number < until else None
        yield StepInfo(number, state, metrics, position)


def make_step(task, optimizer, accumulate=1):
    """Makes the pure function `step(state, frozen, batch) -> (state, metrics)`.

    The metrics are `loss`, those of the task, `grad_norm` before clipping, and `rate` (the
    learning rate) if the optimizer state has it. The optimizer is any optax transformation,
    with or without the argument `step`. The dropout key of a sequence is derived from
    `state.key`, which is constant, `state.step` and the sequence's `ids`.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def step(state, frozen, batch):
        inputs = task.prepare(batch)
        dropout_keys = keys.of_sequences(
            state.key, keys.Purpose.DROPOUT, state.step, ids=batch["ids"]
        )
        gradient, metrics = gradients.of_batch(
            task, state.params, frozen, inputs, dropout_keys, state.step, accumulate
        )
        metrics["grad_norm"] = optax.tree.norm(gradient)
        updates, opt_state = optimizer.update(
            gradient, state.opt_state, state.params, step=state.step
        )
        learning_rate = optax.tree.get(opt_state, "rate")
        if learning_rate is not None:
            metrics["rate"] = learning_rate
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, opt_state, state.key), metrics

    return step


def compile_step(task, optimizer, state, batch, mesh, *, accumulate=1):
    """Compiles the training step of a stage ahead of time.

    Args:
      state: TrainState of arrays, or of `state_shapes`.
      batch: the global batch, arrays or shapes.

    Returns:
      `step(state, frozen, batch) -> (state, metrics)`. It does not retrace: other shapes or
      shardings raise an error. `state` is donated.
    """
    for leaf in jax.tree.leaves(batch):
        sharding.check_batch(leaf.shape[0], mesh, accumulate)
    frozen = on_mesh(task.frozen, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, (state, frozen))
    jitted = jax.jit(
        make_step(task, optimizer, accumulate),
        in_shardings=(*shardings, sharding.batch_sharding(mesh)),
        out_shardings=(shardings[0], sharding.replicated(mesh)),
        donate_argnums=0,
    )
    with jax.set_mesh(mesh):  # for `gradients.of_batch` and `layers.shard_batch`
        return jitted.lower(state, frozen, batch).compile()


def initial_state(task, optimizer, key, shardings):
    """Creates the first TrainState on the devices, with shardings from `state_shardings`."""
    return jax.jit(_new(task, optimizer), out_shardings=shardings)(key)


def state_shapes(task, optimizer, mesh):
    """Returns a TrainState of shapes with shardings, for compilation and for restoring."""
    shapes = jax.eval_shape(_new(task, optimizer), jax.random.key(0))
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
        sharding.state_shardings(task, optimizer, mesh),
    )


def on_mesh(frozen, mesh):
    """Replicates arrays over the mesh, except those that are already on its devices."""

    def place(leaf):
        current = getattr(leaf, "sharding", None)
        if current is not None and current.device_set == set(mesh.devices.flat):
            return leaf
        return jax.device_put(leaf, sharding.replicated(mesh))

    return jax.tree.map(place, frozen)


def _new(task, optimizer):
    def new(key):
        params = task.init(keys.derive(key, keys.Purpose.PARAMS))
        first = jnp.zeros((), jnp.int32)  # an array: a Python int would trace the step twice
        return TrainState(first, params, optimizer.init(params), key)

    return new


def _fetch(batches, mesh, step):
    """Puts the next batch on the devices; returns it with its position."""
    item = next(batches, None)
    if item is None:
        raise errors.InputError(f"the data ended after step {step}; give more or fewer steps")
    batch, position = item if isinstance(item, tuple) else (item, {})
    return sharding.put(batch, mesh), position
