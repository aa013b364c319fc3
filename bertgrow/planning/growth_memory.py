"""Estimates the memory of one device during growth and certificates, from shapes only."""

import jax

from bertgrow.growth import certificate
from bertgrow.objectives import transition
from bertgrow.planning import memory, traced
from bertgrow.train import sharding


def count(context, operators, task, states, mesh):
    """Bytes on one device during growth, as a dict for `plan --json`.

    Args:
      context: `StageContext` of the new stage.
      operators: output of `transition.growths`.
      task: task of the old stage.
      states: old and new TrainState of shapes with shardings.
      mesh: mesh of the run.

    Returns:
      `growth`: both states together, an upper bound, because old leaves are freed during
      growth. `certificate`: the old state, the compared models and a forward pass.
    """
    before, after = map(memory.on_device, states)
    if not operators:
        before = 0  # the state does not change
    compared = _certificate(context, operators, task, mesh)
    return dict(growth=before + after, certificate=memory.on_device(states[0]) + compared)


def hand_over(stage, states, mesh):
    """`count` for a stage that does not start from the weights of the previous stage."""
    if stage.enter is None:
        return dict(growth=0, certificate=0)
    is_used = stage.frozen and stage.frozen.at_entry
    frozen = stage.frozen.shapes(mesh) if is_used else ()
    return dict(growth=sum(map(memory.on_device, (*states, frozen))), certificate=0)


def _certificate(context, operators, task, mesh):
    """Bytes in addition to the old state: two sets of weights and logits, one forward pass."""
    old, new = context.previous, context.stage
    devices = mesh.shape["data"] * mesh.shape["fsdp"]
    sequences = certificate.num_sequences(old.batch, devices) // devices
    inputs = jax.eval_shape(task.prepare, memory.batch_shapes(sequences, old.length))
    models = transition.path(operators, old.model, new.model)
    peak, weights_before, logits_before = 0, 0, 0
    for index, masks in enumerate(transition.masks_after(operators)):
        network = context.family.network(transition.in_float32(models[index]))
        params = jax.eval_shape(network.init, jax.random.key(0))
        weights = _on_mesh(params, network.axes, mesh) if index else 0  # in the old state
        scores = transition.make_scores(network, masks)
        forward = traced.peak_bytes(traced.trace(scores, params, inputs))
        peak = max(peak, weights_before + logits_before + weights + forward)
        logits, _ = jax.eval_shape(scores, params, inputs)
        weights_before, logits_before = weights, logits.size * logits.dtype.itemsize
    return peak


def _on_mesh(params, axes, mesh):
    placed = jax.tree.map(
        lambda leaf, sharding: leaf.update(sharding=sharding),
        params,
        sharding.shardings(params, axes, mesh),
    )
    return memory.on_device(placed)
