"""AdamW and LAMB, told by axis names what to decay and what one slice is.

A leaf with an axis `layers` or `ffn` stacks many weights; the number of its dimensions, or
its norm, says nothing about any one of them. The names do.

`update` takes the run's step: `optimizer.update(gradients, state, params, step=step)`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bertgrow.core import errors, tree

STACKED = ("layers", "ffn")
TABLES = ("vocab", "positions", "types")


def adamw(
    axes, rate, *, b1=0.9, b2=0.999, eps=1e-6, decay=0.01, clip=1.0, bias_correction=True,
    rate_by_axis=None, frozen=(),
):  # fmt: skip
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019).

    Args:
      axes: the parameter tree with a `jax.P` of axis names at every leaf.
      rate: function of the run's step.
      b1, b2, eps: of Adam; eps 1e-6 as in Devlin et al. (2019).
      decay: of the weights that `is_matrix` finds; times the rate.
      clip: largest global norm of the gradients; None for no clipping.
      bias_correction: whether the moments are corrected for their start at zero.
      rate_by_axis: see `scale_by_axis`; None for one rate everywhere.
      frozen: names of the modules that do not learn, see `freeze`.
    """
    chain = optax.chain(
        optax.clip_by_global_norm(clip) if clip else optax.identity(),
        scale_by_adam(b1, b2, eps, bias_correction),
        add_decay(axes, decay),
        scale_by_axis(axes, rate_by_axis or {}),
        scale_by_rate(rate),
    )
    return freeze(chain, axes, frozen)


def lamb(
    axes, rate, *, b1=0.9, b2=0.999, eps=1e-6, decay=0.01, clip=1.0, bias_correction=True,
    rate_by_axis=None, frozen=(),
):  # fmt: skip
    """LAMB (You et al., 2020, algorithm 2), with one trust ratio for each layer's weight.

    Arguments as in `adamw`. Biases and norms take the plain Adam step, as in the authors'
    code.
    """
    chain = optax.chain(
        optax.clip_by_global_norm(clip) if clip else optax.identity(),
        scale_by_adam(b1, b2, eps, bias_correction),
        add_decay(axes, decay),
        scale_by_trust(axes),
        scale_by_axis(axes, rate_by_axis or {}),
        scale_by_rate(rate),
    )
    return freeze(chain, axes, frozen)


def is_matrix(names):
    """True for what decays and has a trust ratio: weights that sum over an axis, and tables.

    Never biases, norms or the output bias, however many axes stacking gives them.
    """
    own = [name for name in names if name not in STACKED]
    sums = any(name.endswith("_in") for name in own)
    return len(own) > 1 and (sums or own[0] in TABLES)


def scale_by_adam(b1, b2, eps, bias_correction):
    """`optax.scale_by_adam`, with or without the correction; its state is the same."""

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
    """Adds `decay` times the weight to the update of every matrix and table."""

    def update(updates, params):
        def at_leaf(pair, names):
            step, weight = pair
            return step + decay * weight if is_matrix(names) else step

        return _map_pairs(at_leaf, updates, params, axes)

    return optax.stateless(update)


def scale_by_trust(axes):
    """Gives the update of every matrix and table, per slice, the norm of its weight."""

    def update(updates, params):
        def at_leaf(pair, names):
            step, weight = pair
            return step * trust_ratio(step, weight, names) if is_matrix(names) else step

        return _map_pairs(at_leaf, updates, params, axes)

    return optax.stateless(update)


def trust_ratio(update, weight, names):
    """Norm of the weight over norm of the update, for each slice of the stacked axes.

    Returns:
      float, the shape of `weight` with 1 at all axes but `layers` and `ffn`; 1.0 where one of
      the norms is zero.
    """
    inner = tuple(dim for dim, name in enumerate(names) if name not in STACKED)

    def norm(x):
        return jnp.sqrt(jnp.sum(jnp.square(x), axis=inner, keepdims=True))

    above, below = norm(weight), norm(update)
    safe = (above > 0) & (below > 0)
    return jnp.where(safe, above / jnp.where(safe, below, 1), 1.0)


def scale_by_axis(axes, rate_by_axis):
    """Multiplies updates by a factor for each unit of an axis, a function of the step.

    For new channels and layers that warm up again after growth, and for layers that are
    frozen or have not been reached yet. A leaf with several of the axes takes all factors.
    Decay is scaled as well: at factor zero nothing moves. Moments go on gathering.

    Args:
      axes: the parameter tree with a `jax.P` of axis names at every leaf.
      rate_by_axis: {axis: function step -> float [size]}, e.g. {"layers": lambda step: ...};
        holds for the axis and for its `_in` side.
    """

    def update(updates, state, params=None, *, step=None, **extra):
        del params, extra
        factors = {axis: factor(step) for axis, factor in rate_by_axis.items()}

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
    """`optimizer`, which leaves every weight of some modules as it is.

    Their gradients are taken for zero, so that they do not count when the others are clipped
    and leave no moments; their updates are zero, whatever decay wants. The state keeps its
    structure, so moments carry over to a stage that freezes other modules.

    Args:
      optimizer: optax transformation.
      axes: the parameter tree with a `jax.P` of axis names at every leaf.
      modules: names at the top of the tree, e.g. ("embeddings",).
    """
    for name in modules:
        if name not in axes:
            raise errors.InputError(
                f"optimizer: no module {name!r} to freeze; expected some of {', '.join(axes)}"
            )

    def still(updates):
        zeros = {name: jax.tree.map(jnp.zeros_like, updates[name]) for name in modules}
        return updates | zeros

    def update(gradients, state, params=None, **extra):
        updates, state = optimizer.update(still(gradients), state, params, **extra)
        return still(updates), state

    return (
        optax.GradientTransformationExtraArgs(optimizer.init, update) if modules else optimizer
    )


class RateState(NamedTuple):
    """The rate of the last update, so that the loop can report it."""

    rate: Any  # float32 scalar


def scale_by_rate(rate):
    """Multiplies by minus the rate at the run's step, which `update` is given as `step`."""

    def init(params):
        del params
        return RateState(jnp.zeros((), jnp.float32))

    def update(updates, state, params=None, *, step, **extra):
        del state, params, extra
        now = jnp.asarray(rate(step), jnp.float32)
        return jax.tree.map(lambda u: -now * u, updates), RateState(now)

    return optax.GradientTransformationExtraArgs(init, update)


def _map_pairs(function, updates, params, axes):
    """`function((update, weight), names)` at every leaf."""

    def at_leaf(names, step, weight):
        return function((step, weight), tuple(names))

    return jax.tree.map(at_leaf, axes, updates, params, is_leaf=tree.is_spec)
