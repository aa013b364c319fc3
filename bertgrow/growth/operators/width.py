"""Width growth that leaves the function unchanged (Net2Net, Chen et al., 2016).

A wider axis is an (index, share): new unit `i` is old unit `index[i]`, and wherever a
weight sums over the axis each copy keeps its `share` of the old weight; the shares of all
copies of a unit sum to one.
"""

import functools

import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors, tree, types
from bertgrow.growth import named_tree
from bertgrow.growth.operators import copies

AXES = {"mlp": "ffn_width", "heads": "num_heads", "embed": "width"}  # and the recipe's field
WHOLE_EMBED = "embed keeps its width or grows by a whole factor"


def equal(old, new, fresh=None, seed=0):
    """Every copy keeps the same share, as published: copies stay tied for ever.

    Equal copies get equal gradients, so they stay equal under any optimiser: the grown
    model never uses its new room unless dropout or rounding tells the copies apart.
    """
    return widen(old, new, rule="equal")


def uneven(old, new, fresh=None, seed=0):
    """Copies keep different shares: still exact, and copies part at the first step.

    Has no dual where `embed` grows: LayerNorm averages its units with equal weight, so the
    gradient of a copy of the residual stream is not its share of the old gradient.
    """
    return widen(old, new, rule="uneven")


def fpi(old, new, fresh=None, seed=0):
    """Old units first, then all of them over again: unit i copies unit i mod n.

    bert2BERT's function-preserving initialisation (Chen et al., 2022), which keeps old units
    where they are and divides by the number of copies; it draws which units to repeat, we
    repeat all of them in order, since only whole ratios pass LayerNorm unharmed. The same
    model as `equal` but for the order of its units; sharded axes have to move units for it.
    """
    return widen(old, new, rule="fpi")


def sparkling(old, new, fresh=None, seed=0):
    """Copies with equal shares whose symmetry the optimiser breaks, not the weights.

    SPARKLING (Yu et al., 2026) keeps the RMS of all activations, resets the moments of the
    new units alone and warms up their rate alone: the first is the weights here, the second
    the moments policy "asymmetric", which it needs, the third `rewarmup_new`. After
    its abstract: they speak of a small jump of the loss, and plain copies at whole ratios,
    which keep every activation, have none.
    """
    return widen(old, new, rule="sparkling")._replace(needs="asymmetric")


def net2net(old, new, fresh=None, seed=0):
    """Old units first, then units drawn at random, at any ratio.

    Net2WiderNet (Chen et al., 2016). We draw without replacement until all units have had
    their turn, the same ones for the same seed and sizes. Where some units of `embed` get more
    copies than others, LayerNorm weighs them more: then the function changes.
    """
    return widen(old, new, rule="net2net", seed=seed)._replace(seed=seed)


def widen(old, new, *, rule, seed=0):
    """Growth of `mlp`, `heads` and `embed`, all at once, by one of `copies.RULES`.

    Args:
      old: {axis: size} of the trained model.
      new: {axis: size} of the model to come.
      rule: e.g. "equal".
      seed: int, of a rule that draws its units.

    Returns:
      Growth; exact for post-norm and pre-norm models where every unit of `embed` is copied
      equally often.
    """
    changes = {a: (old[a], new[a]) for a in AXES if a in old and old[a] != new[a]}
    for axis, (before, after) in changes.items():
        check(axis, before, after, rule)
    how = copies.RULES[rule]
    index = {axis: copies.sources(rule, axis, *pair, seed) for axis, pair in changes.items()}
    grow = functools.partial(_spread, index=index, changes=changes, rule=rule)
    is_exact = "embed" not in changes or copies.is_whole(*changes["embed"])
    has_dual = is_exact and (how.split == "equal" or "embed" not in changes)
    return types.Growth(
        name=rule,
        dimension="width",
        claim="exact" if is_exact else "no",
        changes=changes,
        weights=functools.partial(grow, split=lambda name: name.endswith("_in")),
        gradients=functools.partial(grow, split=is_output) if has_dual else None,
        copies=functools.partial(grow, split=lambda name: False),
        describe=", ".join(f"{a} {b} -> {c}" for a, (b, c) in changes.items()) + f" ({rule})",
        source=how.paper,
        sources=index,
        exact_if=WHOLE_EMBED if how.ratios == "any" else "",
        low_cost=how.low_cost,
    )


def check(axis, before, after, rule):
    """InputError where `axis` cannot go from `before` to `after` units."""
    field, ratios = AXES[axis], copies.RULES[rule].ratios
    if after < before:
        raise errors.InputError(
            f"growth: {axis} shrinks from {before} to {after}; a later stage needs at least "
            f"{before}: change {field} of one of the two stages"
        )
    if ratios == "any" or copies.is_whole(before, after):
        return
    if axis == "embed":
        raise errors.InputError(
            f"growth: embed goes from {before} to {after}; LayerNorm stays exact only where "
            f"every unit is copied equally often: set {field} to a multiple of {before}"
        )
    if ratios == "whole":
        raise errors.InputError(
            f"growth: {axis} goes from {before} to {after}; {rule} copies every unit equally "
            f"often: set {field} to a multiple of {before}, or choose width 'uneven'"
        )


def is_output(name):
    return not name.endswith("_in")


def _spread(params, axes, *, index, changes, rule, split):
    """Copies along every axis in `changes`; multiplies by share where `split(axis name)`."""

    def grow(leaf, names, path):
        for dim, name in enumerate(names):
            axis = tree.base(name)
            if axis not in changes:
                continue
            old, new = changes[axis]
            named_tree.check_size(path, name, leaf.shape[dim], old)
            units = np.where(index[axis] < 0, np.arange(new) % old, index[axis])
            leaf = copies.take(leaf, dim, units)
            if split(name):
                share = jnp.asarray(copies.shares(rule, index[axis]), leaf.dtype)
                leaf = leaf * named_tree.along(share, dim, leaf)
        return leaf

    return named_tree.map_leaves(grow, params, axes), axes
