"""Grows the last state of a stage into the first of the next; measures a certificate."""

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

# Config fields that an axis changes. Width axes are absent: they change all other fields.
FIELDS = dict(
    layers=("num_layers", "frozen_layers"), rank=("ffn_rank",), light=("light_every",),
    pool=("pool", "pool_mode"), positions=("max_length",), length=(),
)  # fmt: skip
BELOW = ("embeddings", "resolution")  # modules that feed the first layer


def growths(family, old, new, seed):
    """Growth operators between two stages, in order; InputError if growth is impossible.

    Args:
      family: `Family` of both models.
      old, new: `StageConfig`; `new.grow` selects the operator of each dimension.
      seed: seed of the run; random draws depend on it and on the start of the new stage.
    """
    tables = [family.sizes(stage.model) | dict(length=stage.length) for stage in (old, new)]

    def key(purpose):
        return keys.derive(jax.random.key(seed), purpose, new.start)

    def fresh():
        return family.network(new.model).init(key(keys.Purpose.NEW_PARAMS))

    copies_seed = int(jax.random.bits(key(keys.Purpose.COPIES), dtype=jnp.uint32))
    names = dict(width=new.grow.width, depth=new.grow.depth)
    return registry.between(*tables, **names, fresh=fresh, seed=copies_seed)


def check(operators, rules):
    """Raises InputError if the operators do not support the moments policy of `rules`."""
    train_state.policies(operators, rules.moments)


def factors_by_axis(operators, stage):
    """{axis: function step -> float [size]}, learning-rate factors of single units.

    New units have their own warm-up (`grow.rewarmup_new`); frozen layers have factor zero.
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
        is_trained = np.arange(stage.model.num_layers) >= frozen
        warmup = factors.get("layers", lambda step: 1.0)
        factors["layers"] = lambda step: is_trained * warmup(step)
    return factors


def mask_new(task, operators, stage):
    """Returns `task` with masks on new parts that ramp in, if an operator has `masks`."""
    masks = registry.compose(operators).masks
    ramp = stage.grow.ramp
    if masks and not 0 < ramp <= stage.steps:
        raise InputError(
            f"growth: msg lets new parts in over `ramp` steps, and stage {stage.name} has ramp "
            f"{ramp}: set grow.ramp to 1 to {stage.steps}, the steps of the stage"
        )
    return masked.ramp_in(task, masks, start=stage.start, ramp=ramp)


def frozen_modules(model, axes):
    """Names of the modules below the frozen layers of a model, which are frozen as well."""
    frozen = getattr(model, "frozen_layers", 0)
    return tuple(name for name in BELOW if name in axes) if frozen else ()


def make_growth(operators, axes, *, optimizer, rules):
    """Makes the pure function of a TrainState that grows it, for `in_place`.

    Args:
      operators: output of `growths`.
      axes: axis names of the parameters of the old model.
      optimizer: of the new stage.
      rules: `grow` of the new stage.
    """

    def larger(old):
        return train_state.grow_state(
            old, operators, axes, optimizer_init=optimizer.init, moments=rules.moments,
            counts=None if rules.counts == "auto" else rules.counts,
        )  # fmt: skip

    return larger


def grow(current, operators, *, axes, optimizer, rules, shardings):
    """Grows a TrainState in place; the old state is deleted.

    Returns:
      The grown state, and {`cost`, `moment_norms` before and after} for the certificate.
    """
    larger = make_growth(operators, axes, optimizer=optimizer, rules=rules)
    norms = {"before": _norms(current)}
    grown, cost = in_place.grow_sharded(current, larger, shardings)
    return grown, {"cost": cost, "moment_norms": norms | {"after": _norms(grown)}}


def _norms(current):
    norms = jax.jit(moments.norms)(current.opt_state, current.params)
    return {name: float(norm) for name, norm in norms.items()}


def certify(family, operators, params, axes, old, new, task, batch):
    """Measures the claim of each operator, in order, on a fixed batch in float32.

    `loss` of the certificate is the loss before and after the whole growth, in float32 and in
    the dtype of training.

    Args:
      family: `Family` of both models.
      operators: output of `growths`.
      params, axes: parameters and axis names of the old model.
      old, new: `StageConfig`.
      task: task of the old stage; all models use its masks.
      batch: `certificate.num_sequences` held-out sequences of the length of the old stage.
    """
    inputs = jax.jit(task.prepare)(batch)
    models = path(operators, old.model, new.model)
    pairs = list(zip(models, masks_after(operators), strict=True))

    def evaluation(model, masks):
        # `inputs` are an argument, not a constant of the program: with several processes
        # each of them has only a part of the batch.
        scores = jax.jit(make_scores(family.network(model), masks))
        return lambda params: scores(params, inputs)

    evaluations = [evaluation(in_float32(model), hidden) for model, hidden in pairs]
    trained = [evaluation(*pairs[at]) for at in (0, -1)]
    if all(layers.compute_dtype(model) == "float32" for model in models):
        trained = None
    return certificate.certificate(
        operators, params, axes, evaluations, moments=new.grow.moments, trained=trained
    )


def path(operators, old, new):
    """Model configs of the transition: the old one, then one after each operator."""
    models = [old]
    for operator in operators:
        changed = _fields(operator.changes, new)
        models.append(dataclasses.replace(models[-1], **changed))
    return models


def masks_after(operators):
    """Masks of the old model and of the model after each operator, for `masked.mask_params`."""
    return [registry.compose(operators[:done]).masks for done in range(len(operators) + 1)]


def _fields(changes, new):
    """Fields of `new` that an operator with these `changes` sets."""
    others = {name for names in FIELDS.values() for name in names}
    names = {name for axis in changes for name in FIELDS.get(axis, ())}
    if changes.keys() - FIELDS.keys():
        names |= {field.name for field in dataclasses.fields(new)} - others
    return {f.name: getattr(new, f.name) for f in dataclasses.fields(new) if f.name in names}


def in_float32(model):
    """The same model in float32, so that a claim is tested without bfloat16 rounding.

    Its layers are a loop on a GPU too: it runs a few times, and compiles faster.
    """
    loop = dict(unroll=1) if hasattr(model, "unroll") else {}
    return dataclasses.replace(model, dtype="float32", remat="none", **loop)


def make_scores(network, masks):
    """Makes the function (params, inputs) -> (logits, loss) that a certificate compares.

    Logits are float32 [batch, predictions, vocab], zero at padding predictions.
    """

    def scores(params, inputs):
        params = masked.mask_params(params, network.axes, masks, 0.0)
        logits = network.apply(params, inputs)["mlm_logits"]
        losses = -jnp.take_along_axis(
            jax.nn.log_softmax(logits), inputs["targets"][..., None], axis=-1
        )[..., 0]
        counted = inputs["weights"][..., None] > 0
        return jnp.where(counted, logits, 0), (losses * inputs["loss_weights"]).sum()

    return scores
