"""Width growth that leaves the function unchanged (Net2Net, Chen et al., 2016).

A wider axis is an (index, share): new unit `i` is old unit `index[i]`, and wherever a
weight sums over the axis each copy keeps its `share` of the old weight; the shares of all
copies of a unit sum to one.
"""

import functools

import jax.numpy as jnp
import numpy as np

from bertgrow import contracts, errors, tree
from bertgrow.growth import named

AXES = {"mlp": "ffn_width", "heads": "num_heads", "embed": "width"}  # and the recipe's field

PAPERS = {
    "equal": "Gu et al. (2021), section 3, parameter sharing; Chen et al. (2016), Net2Net",
    "uneven": "Chen et al. (2016), Net2Net; uneven fan-out after Wang et al. (2024), LEMON",
}


def equal(old, new, fresh=None):
    """Every copy keeps the same share, as published: copies stay tied for ever.

    Equal copies get equal gradients, so they stay equal under any optimiser: the grown
    model never uses its new room unless dropout or rounding tells the copies apart.
    """
    return widen(old, new, rule="equal")


def uneven(old, new, fresh=None):
    """Copies keep different shares: still exact, and copies part at the first step.

    Has no dual where `embed` grows: LayerNorm averages its units with equal weight, so the
    gradient of a copy of the residual stream is not its share of the old gradient.
    """
    return widen(old, new, rule="uneven")


def widen(old, new, *, rule):
    """Growth of `mlp` and `heads` at any ratio and `embed` at whole ratios, all at once.

    Args:
      old: {axis: size} of the trained model.
      new: {axis: size} of the model to come.
      rule: split rule, "equal" or "uneven".

    Returns:
      Growth; exact for post-LN and pre-LN models.
    """
    changes = {a: (old[a], new[a]) for a in AXES if a in old and old[a] != new[a]}
    for axis, (before, after) in changes.items():
        check(axis, before, after)
    grow = functools.partial(_spread, changes=changes, rule=rule)
    has_dual = rule == "equal" or "embed" not in changes
    return contracts.Growth(
        name=rule,
        dimension="width",
        claim="exact",
        changes=changes,
        weights=functools.partial(grow, split=lambda name: name.endswith("_in")),
        gradients=functools.partial(grow, split=is_output) if has_dual else None,
        copies=functools.partial(grow, split=lambda name: False),
        describe=", ".join(f"{a} {b} -> {c}" for a, (b, c) in changes.items()) + f" ({rule})",
        source=PAPERS[rule],
    )


def check(axis, before, after):
    """InputError where `axis` cannot go from `before` to `after` units."""
    field = AXES[axis]
    if after < before:
        raise errors.InputError(
            f"growth: {axis} shrinks from {before} to {after}; a later stage needs at least "
            f"{before}: change {field} of one of the two stages"
        )
    if axis == "embed" and after % before:
        raise errors.InputError(
            f"growth: embed goes from {before} to {after}; LayerNorm stays exact only where "
            f"every unit is copied equally often: set {field} to a multiple of {before}"
        )


def is_output(name):
    return not name.endswith("_in")


def source_units(old, new):
    """int [new]: the old unit that each new unit copies; copies lie beside each other."""
    return np.arange(new) * old // new


def shares(old, new, rule):
    """float32 [new]: what each copy keeps of an outgoing weight.

    A unit with c copies: 1/c each (`equal`), or (2j + 1) / c^2 for copy j (`uneven`), e.g.
    1/4 and 3/4. Powers of two keep the sum exact in floating point too.
    """
    index = source_units(old, new)
    copies = np.bincount(index, minlength=old)[index]
    if rule == "equal":
        return (1 / copies).astype(np.float32)
    nth = np.arange(new) - np.searchsorted(index, index)
    return ((2 * nth + 1) / copies**2).astype(np.float32)


def copy_units(leaf, dim, new):
    """Repeats units along `dim` beside their original, up to `new` of them.

    At a whole ratio by broadcast and reshape: every copy stays on the shard of its
    original, while a `take` along a sharded axis gathers the axis on every device.
    """
    old = leaf.shape[dim]
    if new % old:
        return jnp.take(leaf, source_units(old, new), axis=dim, mode="clip")
    ahead, behind = leaf.shape[: dim + 1], leaf.shape[dim + 1 :]
    beside = jnp.expand_dims(leaf, dim + 1)
    beside = jnp.broadcast_to(beside, (*ahead, new // old, *behind))
    return beside.reshape(*ahead[:-1], new, *behind)


def _spread(params, axes, *, changes, rule, split):
    """Copies along every axis in `changes`; multiplies by share where `split(axis name)`."""

    def grow(leaf, names, path):
        for dim, name in enumerate(names):
            if tree.base(name) not in changes:
                continue
            old, new = changes[tree.base(name)]
            named.check_size(path, name, leaf.shape[dim], old)
            leaf = copy_units(leaf, dim, new)
            if split(name):
                others = [d for d in range(leaf.ndim) if d != dim]
                share = jnp.asarray(shares(old, new, rule), leaf.dtype)
                leaf = leaf * jnp.expand_dims(share, others)
        return leaf

    return named.map_leaves(grow, params, axes), axes
