"""Estimates the memory of one device in training, evaluation and growth, from shapes only.

Activations are the residuals that the forward pass saves for the backward pass. They are
counted by tracing the loss with JAX, so that the count follows the model and its `remat` in
every family. The activations of two layers are added for the working memory of the backward
pass of one layer.

Evaluation and certificates have no backward pass. Their working memory comes from the trace of
the forward pass (`traced.peak_bytes`); the whole state is in memory at the same time.
"""

import math

import jax
import jax.numpy as jnp

from bertgrow.planning import traced

REMATS = ("none", "dots", "full")
IN_WORK = 2  # layers of working memory; docs/plan.md compares it with the compiler
FEW = 8  # micro-batches


def count(
    tasks, state, frozen=(), *, rows, length, layers, remat, evaluation_working, accumulate=1
):
    """Bytes on one device, as a dict for `plan --json`.

    Args:
      tasks: {remat: Task} for each of `REMATS`.
      state: TrainState of shapes with shardings, as `loop.state_shapes`.
      frozen: shapes with shardings of the frozen weights of the stage.
      rows: sequences of one micro-batch on one device.
      length: tokens per sequence.
      layers: number of layers, to compute the size of one.
      remat: remat policy of the recipe.
      evaluation_working: bytes of an evaluation of `rows` sequences in addition to the state.
      accumulate: number of micro-batches per batch.

    Returns:
      Among others `total` for the training step, and `evaluation` for an evaluation with
      micro-batches of the same size.
    """
    kept = {name: saved(task, rows, length, frozen) for name, task in tasks.items()}
    in_work = int(IN_WORK * (kept["none"] - kept["full"]) / layers)
    parameters = on_device(state.params)
    found = dict(
        rows=rows,
        remat=remat,
        parameters=parameters,
        frozen=on_device(frozen),
        moments=on_device(state.opt_state),
        gradients=parameters * (2 if accumulate > 1 else 1),
        activations=kept[remat] + in_work,
        activations_by_remat={name: size + in_work for name, size in kept.items()},
        evaluation_working=evaluation_working,
    )
    return found | dict(total=total(found, remat), evaluation=evaluation(found))


def evaluation(found, slices=1):
    """Total bytes during an evaluation with `slices` times as many micro-batches."""
    state = found["parameters"] + found["frozen"] + found["moments"]
    return state + found["evaluation_working"] // slices


def peak(found, remat, slices=1):
    """Peak bytes of a stage: the maximum over step, evaluation, certificate and growth."""
    return max(
        total(found, remat, slices),
        evaluation(found, slices),
        found["certificate"],
        found["growth"],
    )


def total(found, remat, slices=1):
    """Total bytes of a training step with `slices` times as many micro-batches."""
    gradients = found["gradients"]
    if slices > 1:  # the accumulated gradients and those of one micro-batch
        gradients = max(gradients, 2 * found["parameters"])
    fixed = found["parameters"] + found["frozen"] + found["moments"] + gradients
    return fixed + found["activations_by_remat"][remat] // slices


def fit(memories, limit, *, remat, accumulate):
    """Sets `fits` of each stage's `memory`: whether its peak is within `limit`.

    Returns:
      {} if all fit, else {"advice": recipe fields to set}; the advice is {} if none helps.
    """
    for each in memories:
        each["fits"] = peak(each, remat) <= limit
    if all(each["fits"] for each in memories):
        return {}
    for name, slices in _ways(memories, remat):
        if all(peak(each, name, slices) <= limit for each in memories):
            fields = {} if name == remat else {"model.remat": name}
            more = {} if slices == 1 else {"accumulate": slices * accumulate}
            return dict(advice=fields | more)
    return dict(advice={})


def _ways(memories, remat):
    """Pairs (remat, slices), ordered by their cost in time.

    A few micro-batches cost nothing, recomputing layers costs up to a third of the time, and
    micro-batches of one or two sequences leave a device partly idle.
    """
    rows = [each["rows"] for each in memories]
    slices = [n for n in range(1, min(rows) + 1) if not any(count % n for count in rows)]
    remats = list(dict.fromkeys([remat, *REMATS]))
    pairs = [(name, number) for name in remats for number in slices]
    return sorted(pairs, key=lambda pair: pair[1] > FEW)  # stable sort


def on_device(shapes):
    """Bytes on one device of a tree of shapes with shardings."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(shapes)
    )


def frozen(stage, mesh):
    """Shapes with shardings of the frozen weights that every step of a `Stage` uses."""
    return stage.frozen.shapes(mesh) if stage.frozen and stage.frozen.at_steps else ()


def saved(task, rows, length, frozen=()):
    """Bytes that the forward pass of `rows` sequences saves for the backward pass."""

    def residuals(params, frozen, inputs, key):
        def loss(params):
            params = task.masked_params(params, 0) if task.masked_params else params
            return task.loss(params, frozen, inputs, key, 0)

        return jax.tree.leaves(jax.vjp(loss, params, has_aux=True)[1])

    params = jax.eval_shape(task.init, jax.random.key(0))
    inputs = jax.eval_shape(task.prepare, batch_shapes(rows, length))
    traced = jax.make_jaxpr(residuals)(params, frozen, inputs, jax.random.key(0)).jaxpr
    # Inputs such as the weights are counted elsewhere; a variable returned twice counts once.
    kept = {id(variable): variable.aval for variable in traced.outvars}
    for variable in traced.invars:
        kept.pop(id(variable), None)
    return sum(map(_bytes, kept.values()))


def evaluation_trace(task, rows, length, frozen=()):
    """Jaxpr of `task.evaluate` on `rows` sequences, for the counts of `traced`."""

    def evaluate(params, frozen, batch):
        return task.evaluate(
            task.masked_params(params, 0) if task.masked_params else params, frozen, batch
        )

    params = jax.eval_shape(task.init, jax.random.key(0))
    return traced.trace(evaluate, params, frozen, batch_shapes(rows, length))


def batch_shapes(rows, length):
    """Shapes of a batch from the input pipeline."""
    shape, row = jax.ShapeDtypeStruct, (rows, length)
    return dict(
        tokens=shape(row, jnp.int32),
        types=shape(row, jnp.int32),
        ids=shape((rows, 2), jnp.uint32),
        is_random=shape((rows,), jnp.int32),
    )


def _bytes(aval):
    if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.prng_key):
        return 0  # a few bytes
    return math.prod(aval.shape) * aval.dtype.itemsize
