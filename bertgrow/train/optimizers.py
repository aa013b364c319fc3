"""AdamW and LAMB for stacked layers: axis names select weight decay and trust ratios.

A leaf with an axis `layers` or `ffn` stacks many weights. Its number of dimensions and its
norm are not those of one weight, so these optimizers use the axis names.

`update` takes the step of the run: `optimizer.update(gradients, state, params, step=step)`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bertgrow.core import errors, tree
from bertgrow.core.fields import option

STACKED = ("layers", "ffn")
TABLES = ("vocab", "positions", "types")


@dataclass(frozen=True)
class AdamW:
    """AdamW with decoupled weight decay, by default as in Devlin et al. (2019)."""

    name: str = option("adamw", "the optimizer", choices=("adamw",))
    b1: float = option(0.9, "decay of the mean of gradients", minimum=0, below=1)
    b2: float = option(0.999, "decay of the mean of their squares", minimum=0, below=1)
    eps: float = option(1e-6, "added to the root of that mean", above=0)
    weight_decay: float = option(
        0.01, "of matrices and tables; times the learning rate", minimum=0
    )
    clip: float = option(1.0, "largest global norm of gradients; 0: no clipping", minimum=0)
    bias_correction: bool = option(True, "corrects the means for their start at zero")


@dataclass(frozen=True)
class Lamb(AdamW):
    """LAMB (You et al., 2020), one trust ratio for each layer slice of a stacked weight."""

    name: str = option("lamb", "the optimizer", choices=("lamb",))


def make(config, axes, learning_rate, *, factors_by_axis=None, frozen=()):
    """Makes the optimizer that `config` describes.

    AdamW multiplies weight decay by the learning rate (Loshchilov & Hutter, 2019). LAMB
    (algorithm 2 of You et al., 2020) has one trust ratio per weight of each layer; biases and
    norms get the plain Adam update, as in the authors' code.

    Args:
      config: `AdamW` or `Lamb`.
      axes: the parameter tree with a `jax.P` of axis names at every leaf.
      learning_rate: function of the run's step.
      factors_by_axis: see `scale_by_axis`; None for the same learning rate everywhere.
      frozen: names of modules that are not trained, see `freeze`.
    """
    chain = optax.chain(
        optax.clip_by_global_norm(config.clip) if config.clip else optax.identity(),
        scale_by_adam(config.b1, config.b2, config.eps, config.bias_correction),
        add_decay(axes, config.weight_decay),
        *([scale_by_trust(axes)] if isinstance(config, Lamb) else []),
        scale_by_axis(axes, factors_by_axis or {}),
        scale_by_learning_rate(learning_rate),
    )
    return freeze(chain, axes, frozen)


def is_matrix(names):
    """Returns whether a leaf has weight decay and a trust ratio.

    True for weights that sum over an axis and for embedding tables. False for biases, norms
    and the output bias, also when they are stacked.
    """
    inner = [name for name in names if name not in STACKED]
    sums = any(name.endswith("_in") for name in inner)
    return len(inner) > 1 and (sums or inner[0] in TABLES)


def scale_by_adam(b1, b2, eps, bias_correction):
    """`optax.scale_by_adam` with optional bias correction and the same state."""

    def update(gradients, state, params=None):
        del params
        count = optax.safe_increment(state.count)
        mu = optax.tree.update_moment(gradients, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(gradients, state.nu, b2, 2)
        first, second = mu, nu
        if bias_correction:
            first = optax.tree.bias_correction(mu, b1, count)
            second = optax.tree.bias_correction(nu, b2, count)
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), first, second)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(optax.scale_by_adam(b1, b2, eps).init, update)


def add_decay(axes, decay):
    """Adds `decay` times the weight to the update of every matrix and embedding table."""

    def update(updates, params):
        def at_leaf(pair, names):
            update, weight = pair
            return update + decay * weight if is_matrix(names) else update

        return _map_pairs(at_leaf, updates, params, axes)

    return optax.stateless(update)


def scale_by_trust(axes):
    """Scales updates of matrices and tables to the norm of their weight, per slice."""

    def update(updates, params):
        def at_leaf(pair, names):
            update, weight = pair
            return update * trust_ratio(update, weight, names) if is_matrix(names) else update

        return _map_pairs(at_leaf, updates, params, axes)

    return optax.stateless(update)


def trust_ratio(update, weight, names):
    """Norm of the weight over norm of the update, for each slice of the stacked axes.

    Returns:
      float, the shape of `weight` with size 1 at all axes except `layers` and `ffn`; 1.0 where
      one of the norms is zero.
    """
    inner = tuple(dim for dim, name in enumerate(names) if name not in STACKED)

    def norm(x):
        return jnp.sqrt(jnp.sum(jnp.square(x), axis=inner, keepdims=True))

    weight_norm, update_norm = norm(weight), norm(update)
    is_positive = (weight_norm > 0) & (update_norm > 0)
    return jnp.where(is_positive, weight_norm / jnp.where(is_positive, update_norm, 1), 1.0)


def scale_by_axis(axes, factors_by_axis):
    """Multiplies updates by a factor for each index of an axis, a function of the step.

    Used to warm up new channels and layers after growth, and for layers that are frozen or
    not trained yet. A leaf with several of the axes is multiplied by all their factors.
    Weight decay is scaled as well, so weights with factor zero are constant. Moments are still
    updated.

    Args:
      axes: the parameter tree with a `jax.P` of axis names at every leaf.
      factors_by_axis: {axis: function step -> float [size]}, e.g. {"layers": lambda step: ...};
        applies to the axis and to its `_in` variant.
    """

    def update(updates, state, params=None, *, step=None, **extra):
        del params, extra
        factors = {axis: factor(step) for axis, factor in factors_by_axis.items()}

        def at_leaf(leaf, names):
            for dim, name in enumerate(names):
                if tree.base(name) in factors:
                    others = [d for d in range(leaf.ndim) if d != dim]
                    factor = jnp.asarray(factors[tree.base(name)], leaf.dtype)
                    leaf = leaf * jnp.expand_dims(factor, others)
            return leaf

        return tree.map_named(at_leaf, updates, axes) if factors else updates, state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def freeze(optimizer, axes, modules):
    """Wraps `optimizer` so that the weights of some modules are constant.

    Gradients of these modules are set to zero, so they do not affect clipping or moments.
    Updates of these modules are set to zero, so weight decay has no effect. The state keeps
    its structure, so moments carry over to a stage that freezes other modules.

    Args:
      optimizer: optax transformation.
      axes: the parameter tree with a `jax.P` of axis names at every leaf.
      modules: top-level names in the parameter tree, e.g. ("embeddings",).
    """
    for name in modules:
        if name not in axes:
            raise errors.InputError(
                f"optimizer: no module {name!r} to freeze; expected some of {', '.join(axes)}"
            )

    def zero_frozen(updates):
        zeros = {name: jax.tree.map(jnp.zeros_like, updates[name]) for name in modules}
        return updates | zeros

    def update(gradients, state, params=None, **extra):
        updates, state = optimizer.update(zero_frozen(gradients), state, params, **extra)
        return zero_frozen(updates), state

    return (
        optax.GradientTransformationExtraArgs(optimizer.init, update) if modules else optimizer
    )


class LearningRateState(NamedTuple):
    """Learning rate of the last update, for the metrics."""

    rate: Any  # float32 scalar


def scale_by_learning_rate(learning_rate):
    """Multiplies updates by minus the learning rate at `step`, an argument of `update`."""

    def init(params):
        del params
        return LearningRateState(jnp.zeros((), jnp.float32))

    def update(updates, state, params=None, *, step, **extra):
        del state, params, extra
        value = jnp.asarray(learning_rate(step), jnp.float32)
        return jax.tree.map(lambda u: -value * u, updates), LearningRateState(value)

    return optax.GradientTransformationExtraArgs(init, update)


def _map_pairs(function, updates, params, axes):
    """Maps `function((update, weight), names)` over all leaves."""

    def at_leaf(names, update, weight):
        return function((update, weight), tuple(names))

    return jax.tree.map(at_leaf, axes, updates, params, is_leaf=tree.is_spec)
