"""Stages of learned growth (LiGO): one trains the maps, the next one merges them.

The task of the first stage is `ligo`. Both stages use the small weights from the checkpoint at
the end of the stage before the first one. Both start with a new optimizer state.
"""

import jax

from bertgrow.core import keys
from bertgrow.core.errors import InputError
from bertgrow.core.types import Frozen
from bertgrow.growth.operators import ligo
from bertgrow.train import sharding


def task(context, *, plain):
    """Makes the `Task` of the stage that trains the maps.

    Args:
      context: `StageContext`.
      plain: function (context) -> Task of masked language modelling.
    """
    old, new = _tables(context)
    axes = context.family.network(context.previous.model).axes
    return ligo.task(plain(context), axes, old, new)


def begin(context, optimizer, *, plain):
    """`Objective.enter` of the stage that trains the maps."""
    old, new = _tables(context)
    axes = context.family.network(context.previous.model).axes
    losses = [plain(context.at(context.index - 1)), plain(context)]

    def fresh(key, params, small):
        del params, small
        return ligo.init(key, axes, old, new)

    def enlarged(params, small):
        return ligo.merge(params, small, axes)

    return _enter(losses, fresh, enlarged, optimizer, _changed(old, new))


def merged(context, optimizer, *, plain):
    """`Objective.enter` of the stage after it: the maps make the large weights."""
    family, index = context.family, context.index
    old, new = _tables(context.at(index - 1))
    if family.sizes(context.stage.model) != new:
        raise InputError(
            f"config.stages[{index}] follows a stage that learns 'ligo' and has another model; "
            "give both the same sizes, and grow further in a stage after them"
        )
    before = context.at(index - 2)
    axes = family.network(before.stage.model).axes
    losses = [plain(before), plain(context)]

    def fresh(key, maps, small):
        del key
        return ligo.merge(maps, small, axes)

    return _enter(losses, fresh, lambda params, small: params, optimizer, _changed(old, new))


def small(context):
    """Last weights of a stage, as `Frozen`."""
    stage = context.stage
    network = context.family.network(stage.model)

    def shapes(mesh):
        params = jax.eval_shape(network.init, jax.random.key(0))
        return jax.tree.map(
            lambda leaf, placed: leaf.update(sharding=placed),
            params,
            sharding.shardings(params, network.axes, mesh),
        )

    return Frozen(shapes, lambda saves, shapes: saves.restore_params(stage.end, shapes))


def flops(context, *, step):
    """FLOPs per step: `step` of the large model, plus merging, forward and backward."""
    old, new = _tables(context)
    network = context.family.network(context.previous.model)

    def init(key):
        return ligo.init(key, network.axes, old, new), network.init(key)

    maps, weights = jax.eval_shape(init, jax.random.key(0))
    return step + 3 * ligo.flops(maps, weights, network.axes)


def remarks(context):
    """Remark for the plan about the stage that trains the maps."""
    del context
    yield (
        "stages of 'ligo' train maps: memory and checkpoints hold these and their moments, "
        "while parameters are those of the model that they make"
    )


def _tables(context):
    """Sizes before and after; InputError if a neighbour stage has another task."""
    stages, index = context.settings.stages, context.index
    neighbours = [stages[i].task for i in (index - 1, index + 1) if 0 <= i < len(stages)]
    if neighbours != ["masked_lm", "masked_lm"]:
        raise InputError(
            f"config.stages[{index}] learns 'ligo' between stages {neighbours}; put a "
            "'masked_lm' stage before it, whose model it enlarges, and one after it, which "
            "trains the result"
        )
    return tuple(map(context.family.sizes, (context.previous.model, context.stage.model)))


def _enter(losses, fresh, enlarged, optimizer, changed):
    """Makes the function of `Objective.enter`; its certificate compares losses on the probe.

    Args:
      losses: Tasks of masked language modelling, of the small and of the large model.
      fresh: function (key, params of the previous stage, small weights) -> new params.
      enlarged: function (params of this stage, small weights) -> params of the large model.
      optimizer: optimizer of this stage.
      changed: description of the change.
    """

    def enter(state, shardings, probe, frozen):
        inputs = jax.jit(losses[0].prepare)(probe)
        key = keys.derive(state.key, keys.Purpose.LIGO_MAPS, state.step)
        params = jax.jit(fresh, out_shardings=shardings.params)(key, state.params, frozen)
        opt_state = jax.jit(optimizer.init, out_shardings=shardings.opt_state)(params)
        for leaf in jax.tree.leaves((state.params, state.opt_state)):
            leaf.delete()

        def measure(task, params):
            loss = jax.jit(lambda params, inputs: task.loss(params, (), inputs, None, 0)[0])
            return float(loss(params, inputs))

        large = jax.jit(enlarged)(params, frozen)
        loss = [measure(losses[0], frozen), measure(losses[1], large)]
        row = dict(
            operator="ligo", dimension="width and depth", changed=changed, sizes={},
            claim="no", source="Wang et al. (2023), LiGO", holds=None, ties={},
            loss_before=loss[0], loss_after=loss[1],
        )  # fmt: skip
        certificate = {"rows": [row], "loss": {"as_trained": loss}, "cost": {}}
        return state._replace(params=params, opt_state=opt_state), certificate

    return enter


def _changed(old, new):
    pairs = [f"{axis} {old[axis]} -> {new[axis]}" for axis in old if old[axis] != new[axis]]
    return ", ".join(pairs) + " (ligo)"
