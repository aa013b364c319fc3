"""Held-out evaluation: sums metrics over batches and divides once at the end."""

import functools

import jax
import numpy as np

from bertgrow.train import gradients, loop, shapes, sharding


def evaluate(
    task, params, batches, *, step=0, mesh=None, accumulate=1, compiled=None,
    stop=lambda number: False,
):  # fmt: skip
    """Computes the means of the metrics over held-out batches.

    Args:
      task: Task; `task.evaluate` returns {name: (sum or sums, count)} for a batch.
      params: parameter tree on `mesh`.
      batches: iterable of dicts of NumPy arrays, whole batches, equal in all processes.
      step: step of the run, for `task.masked_params`.
      mesh, accumulate: as in `loop.steps`.
      compiled: function from `compile_evaluation`, or `shapes.ByShape` of them; made here by
        default, for each shape of batches.
      stop: function (number of the batch), called before every batch; true stops the
        evaluation. Its result must be equal in all processes, as that of `Agreement.stops`.

    Returns:
      {name: float or list of floats}, or None if it was stopped. With `task.score`, what that
      returns.
    """
    mesh = mesh or sharding.make_mesh()
    frozen, sums = loop.on_mesh(task.frozen, mesh), []
    compiled = compiled or by_shape(task, params, mesh, accumulate=accumulate)
    for number, batch in enumerate(batches):
        if stop(number):
            return None
        batch = sharding.put_whole(batch, mesh)
        sums.append(compiled(params, frozen, batch, np.int32(step)))
        if len(sums) > 1:  # reading one batch late keeps the devices busy
            sums[-2] = jax.device_get(sums[-2])
    values = {
        name: _mean([batch_sums[name] for batch_sums in sums])
        for name in (sums[0] if sums else {})
    }
    return task.score(values) if task.score else values


def make_evaluation(task, accumulate=1):
    """Makes the pure function `scores(params, frozen, batch, step) -> {name: (sum, count)}`.

    The batch is evaluated in `accumulate` micro-batches, as in the training step, so that
    evaluation needs the memory of one micro-batch only. `step` is the step of the run.
    """

    def scores(params, frozen, batch, step):
        params = task.masked_params(params, step) if task.masked_params else params
        if accumulate == 1:
            return task.evaluate(params, frozen, batch)
        evaluate = functools.partial(task.evaluate, params, frozen)
        parts = jax.lax.map(evaluate, gradients.micro_batches(batch, accumulate))
        return {name: _merge(*pair) for name, pair in parts.items()}

    return scores


def by_shape(task, params, mesh, **options):
    """`compile_evaluation` for batches of several shapes, each at its first call."""
    return shapes.ByShape(
        lambda batch: compile_evaluation(task, params, batch, mesh, **options)
    )


def compile_evaluation(task, params, batch, mesh, *, accumulate=1):
    """Compiles `make_evaluation` ahead of time; arguments as in `loop.compile_step`.

    Returns:
      The compiled function (params, frozen, batch, step); `step` is the step of the run.
    """
    for leaf in jax.tree.leaves(batch):
        sharding.check_batch(leaf.shape[0], mesh, accumulate)
    frozen = loop.on_mesh(task.frozen, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, (params, frozen))
    jitted = jax.jit(
        make_evaluation(task, accumulate),
        in_shardings=(*shardings, sharding.batch_sharding(mesh), sharding.replicated(mesh)),
        out_shardings=sharding.replicated(mesh),
    )
    with jax.set_mesh(mesh):  # for `layers.shard_batch`
        return jitted.lower(params, frozen, batch, np.int32(0)).compile()


def _merge(sums, *counts):
    """Adds the (sum, count) of slices [slices, ...]; takes the maximum if count is None.

    Values of sequences, a 1-tuple, are joined.
    """
    if not counts:
        return (sums.reshape(-1, *sums.shape[2:]),)
    if counts[0] is None:
        return sums.max(axis=0), None
    return sums.sum(axis=0), counts[0].sum(axis=0)


def _mean(pairs):
    """Divides total sum by total count in float64; takes the maximum if count is None.

    Values of sequences, 1-tuples, are joined to one array.
    """
    sums, *counts = zip(*jax.device_get(pairs), strict=True)
    if not counts:
        return np.concatenate(sums)
    (counts,) = counts
    sums = np.array(sums, np.float64)
    if counts[0] is None:
        return sums.max(axis=0).tolist()
    return (sums.sum(axis=0) / np.sum(counts, dtype=np.float64)).tolist()
