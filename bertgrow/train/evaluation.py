"""Held-out figures: sums over batches, divided once at the end."""

import jax
import numpy as np

from bertgrow.train import loop, sharding


def evaluate(task, params, batches, *, now=0, mesh=None, step=None, stop=lambda: False):
    """Means over held-out batches.

    Args:
      task: Task; `task.evaluate` gives {name: (sum or sums, count)} for a batch.
      params: on `mesh`.
      batches: iterable of dicts of NumPy rows of this process, all of one shape.
      now: step of the run, for `task.view`.
      mesh: as in `loop.steps`.
      step: what `compile_evaluation` returned; compiled here when not given.
      stop: asked before every batch, e.g. `lambda: request.requested`; with several
        processes all must answer alike, or they wait for one another forever.

    Returns:
      {name: float, or a list of them}, or None when it was stopped.
    """
    mesh = mesh or sharding.make_mesh()
    frozen, sums = loop.on_mesh(task.frozen, mesh), []
    for rows in batches:
        if stop():
            return None
        batch = sharding.put(rows, mesh)
        step = step or compile_evaluation(task, params, batch, mesh)
        sums.append(step(params, frozen, batch, np.int32(now)))
        if len(sums) > 1:  # reading one batch late never makes the devices wait
            sums[-2] = jax.device_get(sums[-2])
    return {name: _mean([each[name] for each in sums]) for name in (sums[0] if sums else {})}


def compile_evaluation(task, params, batch, mesh):
    """`task.evaluate` compiled ahead of time; arguments as in `loop.compile_step`.

    Returns:
      The function (params, frozen, batch, now), `now` being the step of the run.
    """
    frozen = loop.on_mesh(task.frozen, mesh)

    def scores(params, frozen, batch, now):
        return task.evaluate(task.view(params, now) if task.view else params, frozen, batch)

    where = jax.tree.map(lambda leaf: leaf.sharding, (params, frozen))
    jitted = jax.jit(
        scores,
        in_shardings=(*where, sharding.batch_sharding(mesh), sharding.replicated(mesh)),
        out_shardings=sharding.replicated(mesh),
    )
    return jitted.lower(params, frozen, batch, np.int32(0)).compile()


def _mean(pairs):
    """Sum of sums over sum of counts, in float64; the greatest where nothing is counted."""
    sums, counts = zip(*jax.device_get(pairs), strict=True)
    sums = np.array(sums, np.float64)
    if counts[0] is None:
        return sums.max(axis=0).tolist()
    return (sums.sum(axis=0) / np.sum(counts, dtype=np.float64)).tolist()
