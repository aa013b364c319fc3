"""Growth certificate: the claim of each operator and the measured change of the outputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors, tree
from bertgrow.growth import named_tree, train_state
from bertgrow.growth.operators import copies

# Relative to the largest logit. A split sum adds the same float32 terms in another order: this
# changed logits by 1e-5, measured for 24 layers widened from 512 to 1024 in every axis. A wrong
# fraction or a missed leaf changes logits by a hundredth or more.
TOLERANCE = 1e-4
SEQUENCES = 16  # held-out sequences of a certificate, if divisible among the devices


def num_sequences(batch, devices):
    """Number of held-out sequences of a certificate, a multiple of the number of devices.

    It is 9 to 16, or one per device if there are more than 16 devices, and at most the size of
    the batch.

    Args:
      batch: global sequences of a held-out batch, a multiple of `devices`.
      devices: number of devices that share the batch.
    """
    return min(batch, max(1, SEQUENCES // devices) * devices)


def certificate(
    growths, params, axes, evaluations, *, moments="reset", cost=None, trained=None
):
    """Applies the operators one by one and records how each changes the model's outputs.

    Args:
      growths: tuple of Growth, in order.
      params: parameters of the old model; they are not freed.
      axes: their axis names.
      evaluations: one function `params -> (logits, loss)` for the old model and one for the
        model after each operator (its sizes: `Growth.changes`), all on one fixed
        batch in float32 without dropout. Logits are float [targets, vocab] or similar, always
        at the same targets, and zero at padding predictions. They are compared on the
        devices; only scalars are copied to the host.
      moments: the policy, a string or {dimension: string}; recorded in the certificate.
      cost: the cost that `in_place.grow_sharded` measured; recorded in the certificate.
      trained: two such functions, for the first and the last model, in the precision of
        training, to record their losses too; None if that precision is float32.

    Returns:
      {"rows": one dict per operator, "loss": {precision: [before, after]}, "cost": cost},
      ready for JSON. `holds` of a row is None if the operator claims nothing. A number that
      is not finite is None.
    """
    growths, evaluations = tuple(growths), tuple(evaluations)
    if len(evaluations) != len(growths) + 1:
        raise errors.InputError(
            f"certificate: {len(growths)} operators and {len(evaluations)} evaluations; "
            "give one for the old model and one after each operator"
        )
    rows, before = [], _measure(evaluations[0], params)
    loss = {"float32": [_finite(before[1])]}
    if trained:
        loss["as_trained"] = [_finite(trained[0](params)[1])]
    rules = train_state.policies(growths, moments)
    for growth, evaluate, rule in zip(growths, evaluations[1:], rules, strict=True):
        grown, grown_axes = _grow(growth, params, axes)
        after = _measure(evaluate, grown)
        rows.append(
            {
                **_claim(growth),
                **_difference(growth.claim, before, after),
                **_parameters(params, grown),
                "ties": _ties_of(growth, grown, grown_axes),
                "moments": rule,
            }
        )
        params, axes, before = grown, grown_axes, after
    loss["float32"].append(_finite(before[1]))
    if trained:
        loss["as_trained"].append(_finite(trained[1](params)[1]))
    return {"rows": rows, "loss": loss, "cost": dict(cost or {})}


def broken(certificate):
    """Rows of a certificate whose claim "exact" was not confirmed by the measurement."""
    return [row for row in certificate["rows"] if row["holds"] is False]


def later(certificate, params, axes, step):
    """Adds the ties at a later step to a certificate.

    Args:
      certificate: of the growth that produced this model.
      params: parameters of the grown model after further training.
      axes: their axis names.
      step: the present step of the run.
    """
    rows = []
    for row in certificate["rows"]:
        if row["ties"]:
            later_ties = {a: ties(params, axes, a, _sources(row, a)) for a in row["ties"]}
            row = row | {"ties_later": {"step": step, **later_ties}}
        rows.append(row)
    return certificate | {"rows": rows}


def _sources(row, axis):
    seed = row.get("seed", 0)
    return copies.sources(row["operator"], axis, *row["sizes"][axis], seed)


def ties(params, axes, name, index):
    """Fraction of replicas along the axis `name` that still equal their original.

    Args:
      params: grown parameters.
      axes: their axis names.
      name: the grown axis, e.g. "mlp".
      index: int [new size], the old unit of each copy, from `Growth.sources`; fresh units are
        not counted.

    Returns:
      {path: fraction} for every weight with that axis, and "units": the fraction of replicas
      that equal their original in all of these weights. Such replicas stay equal without
      dropout or rounding differences: equal incoming and outgoing weights get equal
      gradients.
    """
    original, replicas = _replicas(index)
    fractions, grids = {}, []

    def compare(leaf, names, path):
        for dim, axis in enumerate(names):
            if tree.base(axis) == name:
                layers = names.index("layers") if "layers" in names else None
                grid = _equals_original(leaf, original, replicas, dim=dim, layers=layers)
                fractions[path] = int(grid.sum()) / grid.size
                grids.append(grid)

    named_tree.map_leaves(compare, params, axes)
    if not fractions:
        raise errors.InputError(f"ties: no weight has the axis {name!r}; name a grown axis")
    units = _tied_in_all(grids)
    return {**fractions, "units": int(units.sum()) / units.size}


def _replicas(index):
    """Pairs of units, int [replicas] twice: the first copy of the same source, the replica."""
    replicas = np.flatnonzero(_is_copy(index))
    if not len(replicas):
        raise errors.InputError("ties: no unit has a copy; name an axis that grew")
    _, first, unit = np.unique(index, return_index=True, return_inverse=True)
    return first[unit][replicas], replicas


@functools.partial(jax.jit, static_argnames=("dim", "layers"))
def _equals_original(leaf, original, replicas, *, dim, layers):
    """Compares each replica with its original in one weight: bool [layers or 1, replicas].

    Args:
      leaf: a weight.
      original, replicas: int [replicas], units along the axis `dim`.
      dim: the grown axis.
      layers: the axis of the layers, or None.
    """
    units = jnp.moveaxis(leaf, dim, 0)
    same = jnp.take(units, replicas, axis=0) == jnp.take(units, original, axis=0)
    output_dims = [0]
    if layers is not None and layers != dim:
        output_dims.append(layers + 1 if layers < dim else layers)
    same = same.all(axis=tuple(d for d in range(same.ndim) if d not in output_dims))
    return same.T if len(output_dims) == 2 else same[None]


@jax.jit
def _tied_in_all(grids):
    """Whether each replica equals its original in all weights: bool [layers or 1, replicas]."""
    if len({len(grid) for grid in grids}) > 1:  # some weights have no axis `layers`
        grids = [grid.all(axis=0, keepdims=True) for grid in grids]
    return jnp.stack(grids).all(axis=0)


def _is_copy(index):
    return named_tree.is_new(index) & (index >= 0)


def _ties_of(growth, params, axes):
    if growth.dimension != "width":
        return {}
    copied = {axis: index for axis, index in growth.sources.items() if _is_copy(index).any()}
    return {axis: ties(params, axes, axis, index) for axis, index in copied.items()}


def _claim(growth):
    return {
        "operator": growth.name,
        "dimension": growth.dimension,
        "changed": growth.describe,
        "sizes": {axis: list(pair) for axis, pair in growth.changes.items()},
        "seed": growth.seed,
        "claim": growth.claim,
        "exact_if": growth.exact_if,
        "source": growth.source,
    }


def _parameters(before, after):
    """Numbers of parameters, and the paths of the weights that the operator dropped."""
    paths = [named_tree.by_path(params).keys() for params in (before, after)]
    return {
        "parameters_before": tree.count(before),
        "parameters_after": tree.count(after),
        "dropped": sorted(paths[0] - paths[1]),
    }


def _grow(growth, params, axes):
    """Grows (params, axes) under jit, so that sharded weights stay on their devices."""
    traced_axes = []

    def run(params):
        grown, grown_axes = growth.weights(params, axes)
        traced_axes.append(grown_axes)
        return grown

    return jax.jit(run)(params), traced_axes[0]


def _measure(evaluate, params):
    """Logits and loss. By default some devices multiply float32 in lower precision."""
    with jax.default_matmul_precision("highest"):
        logits, loss = evaluate(params)
    return logits, float(loss)


def _difference(claim, before, after):
    (logits, loss), (grown_logits, grown_loss) = before, after
    if logits.shape != grown_logits.shape:
        raise errors.InputError(
            f"certificate: logits {logits.shape} before and {grown_logits.shape} after growth; "
            "evaluate both at the same targets of one batch"
        )
    change, scale = jax.device_get(_change_and_scale(logits, grown_logits))
    return {
        "max_logit_change": _finite(change),
        "logit_scale": _finite(scale),
        "tolerance": TOLERANCE,
        "holds": bool(change <= TOLERANCE * scale) if claim == "exact" else None,
        "loss_before": _finite(loss),
        "loss_after": _finite(grown_loss),
        "loss_change": _finite(grown_loss - loss),
    }


@jax.jit
def _change_and_scale(before, after):
    """Largest change of a logit and largest logit before growth, float32 scalars."""
    before, after = before.astype(jnp.float32), after.astype(jnp.float32)
    return jnp.abs(after - before).max(), jnp.abs(before).max()


def _finite(number):
    """A float, or None if it is not finite: JSON cannot represent NaN or infinity."""
    return float(number) if np.isfinite(number) else None
