"""From the last state of one stage to the first of the next, and the certificate of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core import keys
from bertgrow.core.errors import InputError
from bertgrow.growth import certificate, in_place, moments, named_tree, registry, train_state
from bertgrow.growth.operators import masked
from bertgrow.models import layers
from bertgrow.train import schedules

# What an axis changes in a configuration; those that widen, whatever else differs.
FIELDS = dict(
    layers=("num_layers", "frozen_layers"), rank=("ffn_rank",), light=("light_every",),
    pool=("pool", "pool_mode"), positions=("max_length",), length=(),
)  # fmt: skip
BELOW = ("embeddings", "resolution")  # modules that feed the first layer


def growths(family, old, new, seed):
    """The operators between two stages, in order; an InputError where they cannot grow.

    Args:
      family: `Family` of both models.
      old, new: `StageConfig`; `new.grow` says which operator to use for each dimension.
      seed: of the run; what is drawn depends on it and on the start of the new stage.
    """
    tables = [family.sizes(stage.model) | dict(length=stage.length) for stage in (old, new)]

    def key(purpose):
        return keys.derive(jax.random.key(seed), purpose, new.start)

    def fresh():
        return family.network(new.model).init(key(keys.Purpose.NEW_PARAMS))

    drawn = int(jax.random.bits(key(keys.Purpose.COPIES), dtype=jnp.uint32))
    names = dict(width=new.grow.width, depth=new.grow.depth)
    return registry.between(*tables, **names, fresh=fresh, seed=drawn)


def check(operators, rules):
    """InputError where the operators cannot have the moments that `rules` asks for."""
    train_state.policies(operators, rules.moments)


def rate_by_axis(operators, stage):
    """{axis: function step -> float [size]} of the units that learn at a rate of their own.

    New ones warm up alone, where asked to; frozen layers stay as they are.
    """
    steps = stage.grow.rewarmup_new
    factors = {
        axis: schedules.rewarm(named_tree.is_new(index), start=stage.start, warmup=steps)
        for operator in operators
        for axis, index in operator.sources.items()
        if steps
    }
    frozen = getattr(stage.model, "frozen_layers", 0)
    if frozen:
        learns = np.arange(stage.model.num_layers) >= frozen
        warm = factors.get("layers", lambda step: 1.0)
        factors["layers"] = lambda step: learns * warm(step)
    return factors


def hide_new(task, operators, stage):
    """`task` with what is new hidden at first, where an operator asks for it."""
    masks = registry.compose(operators).masks
    ramp = stage.grow.ramp
    if masks and not 0 < ramp <= stage.steps:
        raise InputError(
            f"growth: msg lets new parts in over `ramp` steps, and stage {stage.name} has ramp "
            f"{ramp}: set grow.ramp to 1 to {stage.steps}, the steps of the stage"
        )
    return masked.ramped(task, masks, start=stage.start, ramp=ramp)


def frozen_modules(model, axes):
    """Names of the modules that feed a model's frozen layers and stay as these do."""
    frozen = getattr(model, "frozen_layers", 0)
    return tuple(name for name in BELOW if name in axes) if frozen else ()


def grow(current, operators, *, axes, optimizer, rules, shardings):
    """Grows a TrainState where it lies; the old one is gone.

    Returns:
      The grown state, and for the certificate its `cost` and `moment_norms`, before and after.
    """

    def larger(old):
        return train_state.grow_state(
            old, operators, axes, optimizer_init=optimizer.init, moments=rules.moments,
            counts=None if rules.counts == "auto" else rules.counts,
        )  # fmt: skip

    norms = {"before": _norms(current)}
    grown, cost = in_place.grow_sharded(current, larger, shardings)
    return grown, {"cost": cost, "moment_norms": norms | {"after": _norms(grown)}}


def _norms(current):
    found = jax.jit(moments.norms)(current.opt_state, current.params)
    return {name: float(norm) for name, norm in found.items()}


def certify(family, operators, params, axes, old, new, task, batch):
    """Measures each operator in order on a fixed batch in float32: claim against fact.

    `loss` holds the whole growth's loss before and after, in float32 and as it is trained.

    Args:
      family: `Family` of both models.
      operators: what `growths` gave.
      params, axes: of the old model.
      old, new: `StageConfig`.
      task: of the old stage; hides the same tokens for every model.
      batch: held-out rows at the old stage's length, `certificate.num_rows` of them.
    """
    inputs = jax.jit(task.prepare)(batch)
    models = path(operators, old.model, new.model)
    pairs = list(zip(models, masks_after(operators), strict=True))

    def evaluation(model, masks):
        # `inputs` are an argument and no constant of the program: under several processes
        # none of them holds all of them.
        scores = jax.jit(make_scores(family.network(model), masks))
        return lambda params: scores(params, inputs)

    evaluations = [evaluation(exactly(model), hidden) for model, hidden in pairs]
    trained = [evaluation(*pairs[at]) for at in (0, -1)]
    if all(layers.compute_dtype(model) == "float32" for model in models):
        trained = None
    return certificate.certificate(
        operators, params, axes, evaluations, moments=new.grow.moments, trained=trained
    )


def path(operators, old, new):
    """The configurations on the way: the old one, then one after each operator."""
    models = [old]
    for operator in operators:
        changed = _fields(operator.changes, new)
        models.append(dataclasses.replace(models[-1], **changed))
    return models


def masks_after(operators):
    """What is hidden in the old model and after each operator, as `masked.hide` takes it."""
    return [registry.compose(operators[:done]).masks for done in range(len(operators) + 1)]


def _fields(changes, new):
    """The fields of `new` that an operator with these `changes` gives its model."""
    elsewhere = {name for names in FIELDS.values() for name in names}
    mine = {name for axis in changes for name in FIELDS.get(axis, ())}
    if changes.keys() - FIELDS.keys():
        mine |= {field.name for field in dataclasses.fields(new)} - elsewhere
    return {f.name: getattr(new, f.name) for f in dataclasses.fields(new) if f.name in mine}


def exactly(model):
    """The same model in float32, so that a claim is about the method and not the rounding."""
    return dataclasses.replace(model, dtype="float32", remat="none")


def make_scores(network, masks):
    """The function (params, inputs) -> (logits, loss) that a certificate compares.

    Logits are float32 [batch, predictions, vocab], zero where a prediction has no weight.
    """

    def scores(params, inputs):
        params = masked.hide(params, network.axes, masks, 0.0)
        logits = network.apply(params, inputs)["mlm_logits"]
        losses = -jnp.take_along_axis(
            jax.nn.log_softmax(logits), inputs["targets"][..., None], axis=-1
        )[..., 0]
        counted = inputs["weights"][..., None] > 0
        return jnp.where(counted, logits, 0), (losses * inputs["share"]).sum()

    return scores
