"""AdamW and LAMB for stacked layers: axis names select weight decay and trust ratios.

A leaf with an axis `layers` or `ffn` stacks many weights. Its number of dimensions and its
norm are not those of one weight, so these optimizers use the axis names.

`update` takes the step of the run: `optimizer.update(gradients, state, params, step=step)`.
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
      rate: learning rate, a function of the run's step.
      b1, b2, eps: parameters of Adam; eps 1e-6 as in Devlin et al. (2019).
      decay: weight decay of the weights selected by `is_matrix`; multiplied by the learning
        rate.
      clip: maximum global norm of the gradients; None for no clipping.
      bias_correction: whether to correct the moments for their initial zeros.
      rate_by_axis: see `scale_by_axis`; None for the same learning rate everywhere.
      frozen: names of modules that are not trained, see `freeze`.
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
    """LAMB (You et al., 2020, algorithm 2), with one trust ratio per weight of each layer.

    Arguments as in `adamw`. Biases and norms use the plain Adam update, as in the authors'
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
    """Returns whether a leaf has weight decay and a trust ratio.

    True for weights that sum over an axis and for embedding tables. False for biases, norms
    and the output bias, also when they are stacked.
    """
    own = [name for name in names if name not in STACKED]
    sums = any(name.endswith("_in") for name in own)
    return len(own) > 1 and (sums or own[0] in TABLES)


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
            step, weight = pair
            return step + decay * weight if is_matrix(names) else step

        return _map_pairs(at_leaf, updates, params, axes)

    return optax.stateless(update)


def scale_by_trust(axes):
    """Scales updates of matrices and tables to the norm of their weight, per slice."""

    def update(updates, params):
        def at_leaf(pair, names):
            step, weight = pair
            return step * trust_ratio(step, weight, names) if is_matrix(names) else step

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

    above, below = norm(weight), norm(update)
    safe = (above > 0) & (below > 0)
    return jnp.where(safe, above / jnp.where(safe, below, 1), 1.0)


def scale_by_axis(axes, rate_by_axis):
    """Multiplies updates by a factor for each index of an axis, a function of the step.

    Used to warm up new channels and layers after growth, and for layers that are frozen or
    not trained yet. A leaf with several of the axes is multiplied by all their factors.
    Weight decay is scaled as well, so weights with factor zero are constant. Moments are still
    updated.

    Args:
      axes: the parameter tree with a `jax.P` of axis names at every leaf.
      rate_by_axis: {axis: function step -> float [size]}, e.g. {"layers": lambda step: ...};
        applies to the axis and to its `_in` variant.
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
    """Learning rate of the last update, for the metrics."""

    rate: Any  # float32 scalar


def scale_by_rate(rate):
    """Multiplies updates by minus the learning rate at `step`, an argument of `update`."""

    def init(params):
        del params
        return RateState(jnp.zeros((), jnp.float32))

    def update(updates, state, params=None, *, step, **extra):
        del state, params, extra
        now = jnp.asarray(rate(step), jnp.float32)
        return jax.tree.map(lambda u: -now * u, updates), RateState(now)

    return optax.GradientTransformationExtraArgs(init, update)


def _map_pairs(function, updates, params, axes):
    """Maps `function((update, weight), names)` over all leaves."""

    def at_leaf(names, step, weight):
        return function((step, weight), tuple(names))

    return jax.tree.map(at_leaf, axes, updates, params, is_leaf=tree.is_spec)
