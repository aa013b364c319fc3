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
WORKING_LAYERS = 2  # of the backward pass; docs/plan.md compares it with the compiler
CHEAP_SLICES = 8  # micro-batches that cost almost no time


def count(
    tasks,
    state,
    frozen=(),
    *,
    sequences,
    length,
    layers,
    remat,
    evaluation_working,
    accumulate=1,
    parts=lambda shape: 1,
):
    """Bytes on one device, as a dict for `plan --json`.

    Args:
      tasks: {remat: Task} for each of `REMATS`.
      state: TrainState of shapes with shardings, as `loop.state_shapes`.
      frozen: shapes with shardings of the frozen weights of the stage.
      sequences: number in one micro-batch on one device.
      length: tokens per sequence.
      layers: number of layers, to compute the size of one.
      remat: remat policy of the recipe.
      evaluation_working: bytes of an evaluation of a micro-batch in addition to the state.
      accumulate: number of micro-batches per batch.
      parts: see `saved`.

    Returns:
      Among others `total` for the training step, and `evaluation` for an evaluation with
      micro-batches of the same size.
    """
    residuals = {
        name: saved(task, sequences, length, frozen, parts) for name, task in tasks.items()
    }
    working = int(WORKING_LAYERS * (residuals["none"] - residuals["full"]) / layers)
    parameters = on_device(state.params)
    figures = dict(
        rows=sequences,
        remat=remat,
        parameters=parameters,
        frozen=on_device(frozen),
        moments=on_device(state.opt_state),
        gradients=parameters * (2 if accumulate > 1 else 1),
        activations=residuals[remat] + working,
        activations_by_remat={name: size + working for name, size in residuals.items()},
        evaluation_working=evaluation_working,
    )
    return figures | dict(total=total(figures, remat), evaluation=evaluation(figures))


def evaluation(figures, slices=1):
    """Total bytes during an evaluation with `slices` times as many micro-batches."""
    state = figures["parameters"] + figures["frozen"] + figures["moments"]
    return state + figures["evaluation_working"] // slices


def peak(figures, remat, slices=1):
    """Peak bytes of a stage: the maximum over step, evaluation, certificate and growth."""
    return max(
        total(figures, remat, slices),
        evaluation(figures, slices),
        figures["certificate"],
        figures["growth"],
    )


def total(figures, remat, slices=1):
    """Total bytes of a training step with `slices` times as many micro-batches."""
    gradients = figures["gradients"]
    if slices > 1:  # the accumulated gradients and those of one micro-batch
        gradients = max(gradients, 2 * figures["parameters"])
    fixed = figures["parameters"] + figures["frozen"] + figures["moments"] + gradients
    return fixed + figures["activations_by_remat"][remat] // slices


def fit(memories, limit, *, remat, accumulate):
    """Sets `fits` of each stage's `memory`: whether its peak is within `limit`.

    Returns:
      {} if all fit, else {"advice": recipe fields to set}; the advice is {} if none helps.
    """
    for figures in memories:
        figures["fits"] = peak(figures, remat) <= limit
    if all(figures["fits"] for figures in memories):
        return {}
    for name, slices in _settings(memories, remat):
        if all(peak(figures, name, slices) <= limit for figures in memories):
            fields = {} if name == remat else {"model.remat": name}
            more = {} if slices == 1 else {"accumulate": slices * accumulate}
            return dict(advice=fields | more)
    return dict(advice={})


def _settings(memories, remat):
    """Pairs (remat, slices), ordered by their cost in time.

    A few micro-batches cost nothing, recomputing layers costs up to a third of the time, and
    micro-batches of one or two sequences leave a device partly idle.
    """
    counts = [figures["rows"] for figures in memories]
    slices = [n for n in range(1, min(counts) + 1) if not any(count % n for count in counts)]
    remats = list(dict.fromkeys([remat, *REMATS]))
    pairs = [(name, number) for name in remats for number in slices]
    return sorted(pairs, key=lambda pair: pair[1] > CHEAP_SLICES)  # stable sort


def on_device(shapes):
    """Bytes on one device of a tree of shapes with shardings."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(shapes)
    )


def frozen(stage, mesh):
    """Shapes with shardings of the frozen weights that every step of a `Stage` uses."""
    return stage.frozen.shapes(mesh) if stage.frozen and stage.frozen.at_steps else ()


def tensor_parts(sizes, tensor):
    """Makes the function `parts` of `saved` for a mesh with `tensor` devices along that axis.

    Divided are values with an axis of heads, of the FFN or of the vocabulary, as their weights
    are. A value shows its axes only by their sizes: where the FFN is as wide as the residual
    stream, it counts as not divided, which is too much.

    Args:
      sizes: `Family.sizes` of the model.
      tensor: size of the mesh axis.
    """
    wide = {sizes["mlp"], sizes["vocab"]} - {sizes["embed"], sizes.get("body")}
    heads = sizes["heads"], sizes["kv"]

    def parts(shape):
        if shape[-2:] == heads:
            size = heads[0]
        elif wide.intersection(shape[-1:]):
            size = shape[-1]
        else:
            return 1
        return 1 if size % tensor else tensor

    return parts


def saved(task, sequences, length, frozen=(), parts=lambda shape: 1):
    """Bytes that the forward pass of a micro-batch saves for the backward pass.

    `parts` maps the shape of a saved value to the number of devices that it is divided over,
    beside those that divide the sequences; see `tensor_parts`.
    """

    def residuals(params, frozen, inputs, keys):
        def loss(params):
            params = task.masked_params(params, 0) if task.masked_params else params
            return task.loss(params, frozen, inputs, keys, 0)

        return jax.tree.leaves(jax.vjp(loss, params, has_aux=True)[1])

    params = jax.eval_shape(task.init, jax.random.key(0))
    inputs = jax.eval_shape(task.prepare, batch_shapes(sequences, length))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), sequences))
    jaxpr = jax.make_jaxpr(residuals)(params, frozen, inputs, keys).jaxpr
    # Inputs such as the weights are counted elsewhere; a variable returned twice counts once.
    saved_values = {id(variable): variable.aval for variable in jaxpr.outvars}
    for variable in jaxpr.invars:
        saved_values.pop(id(variable), None)
    return sum(_bytes(aval) // parts(aval.shape) for aval in saved_values.values())


def evaluation_trace(task, sequences, length, frozen=()):
    """Jaxpr of `task.evaluate` on a micro-batch, for the counts of `traced`."""

    def evaluate(params, frozen, batch):
        return task.evaluate(
            task.masked_params(params, 0) if task.masked_params else params, frozen, batch
        )

    params = jax.eval_shape(task.init, jax.random.key(0))
    return traced.trace(evaluate, params, frozen, batch_shapes(sequences, length))


def batch_shapes(sequences, length):
    """Shapes of a batch from the input pipeline."""
    shape, tokens = jax.ShapeDtypeStruct, (sequences, length)
    return dict(
        tokens=shape(tokens, jnp.int32),
        types=shape(tokens, jnp.int32),
        ids=shape((sequences, 2), jnp.uint32),
        is_random=shape((sequences,), jnp.int32),
    )


def _bytes(aval):
    if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.prng_key):
        return 0  # a few bytes
    return math.prod(aval.shape) * aval.dtype.itemsize
