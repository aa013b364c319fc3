"""Gradients of one global batch, with one reduction over the mesh axis `data` a step."""

import functools

import jax
import jax.numpy as jnp


def of_batch(task, params, frozen, inputs, keys, step, accumulate=1):
    """Computes gradients and metrics of one batch, summed over its micro-batches.

    The weights of predictions sum to one over the whole batch (`Task.prepare`). The sum over
    micro-batches and devices therefore equals the result of the whole batch, except for
    rounding.

    Along the mesh axis `data`, each part of the mesh adds up the gradients of its own
    sequences in float32. One sum over the parts follows. Left to the compiler, the parts would
    be summed in every micro-batch, for each use of a weight, and in bfloat16 for a weight
    that is cast. The axes `fsdp` and `tensor` are left to the compiler.

    Args:
      inputs: result of `Task.prepare`, leaves [batch, ...].
      keys: random keys [batch], see `Task.loss`.
      step: int32 scalar.
      accumulate: int, number of micro-batches.
    """
    of_part = functools.partial(_sum_of_micro_batches, task, accumulate)
    if not _is_divided(jax.sharding.get_abstract_mesh()):
        return of_part(params, frozen, inputs, keys, step)

    def of_all(*arguments):
        return jax.lax.psum(of_part(*arguments), "data")

    whole, rows = jax.P(), jax.P("data")
    in_specs = (whole, whole, rows, rows, whole)
    return jax.shard_map(
        of_all, axis_names={"data"}, in_specs=in_specs, out_specs=whole, check_vma=False
    )(params, frozen, inputs, keys, step)


def _is_divided(mesh):
    """Whether `of_batch` divides the mesh of `jax.set_mesh` along `data` itself.

    With `fsdp` and `tensor` besides, the compiler has to sum the parts too: XLA of jax 0.10 and
    0.12 aborts on a gather that it partitions along two axes inside a third.
    """
    data, *others = (mesh.shape.get(axis, 1) for axis in ("data", "fsdp", "tensor"))
    return data > 1 and min(others) == 1


def micro_batches(batch, accumulate):
    """Reshapes every leaf [batch, ...] to [accumulate, batch / accumulate, ...].

    Micro-batch i has the sequences i, i + accumulate, ... Each device then splits its own
    sequences. Micro-batches of consecutive sequences would move them between devices.
    """

    def cut(leaf):
        slices = leaf.reshape(leaf.shape[0] // accumulate, accumulate, *leaf.shape[1:])
        return jnp.swapaxes(slices, 0, 1)

    return jax.tree.map(cut, batch)


def _sum_of_micro_batches(task, accumulate, params, frozen, inputs, keys, step):
    def loss_of(params, inputs, keys):
        params = task.masked_params(params, step) if task.masked_params else params
        loss, metrics = task.loss(params, frozen, inputs, keys, step)
        return loss, {"loss": loss} | metrics

    gradients_and_metrics = jax.grad(loss_of, has_aux=True)
    if accumulate == 1:
        return gradients_and_metrics(params, inputs, keys)

    def add(total, micro_batch):
        return jax.tree.map(jnp.add, total, gradients_and_metrics(params, *micro_batch)), None

    slices = micro_batches((inputs, keys), accumulate)
    first = jax.tree.map(lambda leaf: leaf[0], slices)
    shapes = jax.eval_shape(gradients_and_metrics, params, *first)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    total, _ = jax.lax.scan(add, zeros, slices)
    return total
