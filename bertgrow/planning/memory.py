"""What one device holds in training, evaluation and growth, counted from shapes alone.

Activations are what the backward pass of one layer after another will need: JAX is asked
for them by tracing the loss, so that the count follows the model and its `remat`, whatever
the family. To that come two layers' worth, for what is in work while the gradients of one are
computed.

Evaluation and certificates have no backward pass: their working memory is read off the trace of
the forward pass (`traced.peak_bytes`), while the whole state lies beside it.
"""

import math

import jax
import jax.numpy as jnp

from bertgrow.planning import traced

REMATS = ("none", "dots", "full")
IN_WORK = 2  # layers; see the comparison with the compiler in docs/plan.md
FEW = 8  # slices


def count(
    tasks, state, frozen=(), *, rows, length, layers, remat, evaluation_working, accumulate=1
):
    """Bytes on one device, as a dict for `plan --json`.

    Args:
      tasks: {remat: Task} for each of `REMATS`.
      state: TrainState of shapes with shardings, as `loop.state_shapes`.
      frozen: shapes with shardings of what the stage uses and does not train.
      rows: a device's rows of the batch, of one slice where it is worked off in slices.
      length: tokens a row.
      layers: how many, to know how large one is.
      remat: the one of the recipe.
      evaluation_working: bytes that an evaluation of `rows` rows takes beside the state.
      accumulate: in how many slices a batch is worked off.

    Returns:
      Among others `total`, of the training step, and `evaluation`, of an evaluation in slices
      of the same size.
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
    """Bytes in all during an evaluation, in `slices` times as many slices."""
    state = found["parameters"] + found["frozen"] + found["moments"]
    return state + found["evaluation_working"] // slices


def peak(found, remat, slices=1):
    """Bytes at the worst moment of a stage: a step, an evaluation, or its beginning."""
    return max(
        total(found, remat, slices),
        evaluation(found, slices),
        found["certificate"],
        found["growth"],
    )


def total(found, remat, slices=1):
    """Bytes in all, the batch worked off in `slices` times as many slices."""
    gradients = found["gradients"]
    if slices > 1:  # the sum and a part of it
        gradients = max(gradients, 2 * found["parameters"])
    fixed = found["parameters"] + found["frozen"] + found["moments"] + gradients
    return fixed + found["activations_by_remat"][remat] // slices


def fit(memories, limit, *, remat, accumulate):
    """Marks each stage's `memory` with whether its peak `fits`.

    Returns:
      {} where all do, else {"advice": the recipe fields to set, {} where none would do}.
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
    """(remat, slices) from what costs least to what costs most time.

    A few slices cost nothing, computing layers twice costs up to a third, and slices of a
    row or two leave a device idle.
    """
    rows = [each["rows"] for each in memories]
    slices = [n for n in range(1, min(rows) + 1) if not any(count % n for count in rows)]
    remats = list(dict.fromkeys([remat, *REMATS]))
    pairs = [(name, number) for name in remats for number in slices]
    return sorted(pairs, key=lambda pair: pair[1] > FEW)  # stable: within, in this order


def on_device(shapes):
    """Bytes of a tree of shapes with shardings that one device holds."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(shapes)
    )


def frozen(stage, mesh):
    """Shapes with shardings of what every step of a `Stage` asks and does not train."""
    return stage.frozen.shapes(mesh) if stage.frozen and stage.frozen.at_steps else ()


def saved(task, rows, length, frozen=()):
    """Bytes that the forward pass over `rows` rows leaves for the backward pass."""

    def residuals(params, frozen, inputs, key):
        def loss(params):
            params = task.view(params, 0) if task.view else params
            return task.loss(params, frozen, inputs, key, 0)

        return jax.tree.leaves(jax.vjp(loss, params, has_aux=True)[1])

    params = jax.eval_shape(task.init, jax.random.key(0))
    inputs = jax.eval_shape(task.prepare, batch_shapes(rows, length))
    traced = jax.make_jaxpr(residuals)(params, frozen, inputs, jax.random.key(0)).jaxpr
    # What comes in, such as the weights, is there in any case; what goes out twice is one.
    kept = {id(variable): variable.aval for variable in traced.outvars}
    for variable in traced.invars:
        kept.pop(id(variable), None)
    return sum(map(_bytes, kept.values()))


def evaluation_trace(task, rows, length, frozen=()):
    """The jaxpr of `task.evaluate` on `rows` rows, to be counted by `traced`."""

    def evaluate(params, frozen, batch):
        return task.evaluate(task.view(params, 0) if task.view else params, frozen, batch)

    params = jax.eval_shape(task.init, jax.random.key(0))
    return traced.trace(evaluate, params, frozen, batch_shapes(rows, length))


def batch_shapes(rows, length):
    """The shapes of a batch from the data side."""
    shape, row = jax.ShapeDtypeStruct, (rows, length)
    return dict(
        tokens=shape(row, jnp.int32),
        types=shape(row, jnp.int32),
        ids=shape((rows, 2), jnp.uint32),
        is_random=shape((rows,), jnp.int32),
    )


def _bytes(aval):
    if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.prng_key):
        return 0  # a few words
    return math.prod(aval.shape) * aval.dtype.itemsize
