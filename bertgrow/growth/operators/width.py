"""Width growth that preserves the model's outputs (Net2Net, Chen et al., 2016).

An index and a fraction per unit define a wider axis. New unit `i` copies old unit `index[i]`.
In a weight that sums over the axis, each copy keeps its fraction of the old weight. The
fractions of all copies of a unit sum to one.
"""

import functools

import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors, tree, types
from bertgrow.growth import named_tree
from bertgrow.growth.operators import copies

AXES = {"mlp": "ffn_width", "heads": "num_heads", "embed": "width"}  # axis: recipe field
WHOLE_EMBED = "embed keeps its width or grows by a whole factor"


def equal(old, new, fresh=None, seed=0):
    """Copies units beside their original; all copies of a unit have equal fractions.

    This is the published form. Equal copies get equal gradients, so they stay equal under any
    optimiser. The grown model cannot use its new capacity unless dropout or rounding breaks
    the symmetry.
    """
    return widen(old, new, rule="equal")


def uneven(old, new, fresh=None, seed=0):
    """Copies units beside their original; copies of a unit have different fractions.

    The growth is still exact, and copies differ after the first step. There is no dual map if
    `embed` grows: LayerNorm averages its units with equal weight, so the gradient of a copy in
    the residual stream is not its fraction of the old gradient.
    """
    return widen(old, new, rule="uneven")


def fpi(old, new, fresh=None, seed=0):
    """Repeats all units in order behind the old ones: unit i copies unit i mod n.

    bert2BERT's function-preserving initialisation (Chen et al., 2022). It keeps the old units
    in place and divides by the number of copies. The paper draws the units to repeat; this
    repeats all of them in order, because only whole ratios are exact through LayerNorm. The
    result is that of `equal` with another order of units. On sharded axes, units have to move
    between devices.
    """
    return widen(old, new, rule="fpi")


def sparkling(old, new, fresh=None, seed=0):
    """Copies units with equal fractions; the optimiser breaks the symmetry of copies.

    SPARKLING (Yu et al., 2026) keeps the RMS of all activations, resets only the moments of
    the new units, and warms up only their learning rate. Here the first is a property of the
    weights, the second is the moments policy "asymmetric", which is required, and the third is
    `rewarmup_new`. This follows the abstract of the paper. The paper reports a small jump of
    the loss; plain copies at whole ratios, as here, keep every activation and cause none.
    """
    return widen(old, new, rule="sparkling")._replace(needs="asymmetric")


def net2net(old, new, fresh=None, seed=0):
    """Adds randomly drawn copies behind the old units, at any ratio.

    Net2WiderNet (Chen et al., 2016). This draws without replacement until all units are
    drawn, and then starts again. The same seed and sizes give the same units. If some units of
    `embed` get more copies than others, LayerNorm gives them more weight, and the outputs
    change.
    """
    return widen(old, new, rule="net2net", seed=seed)._replace(seed=seed)


def widen(old, new, *, rule, seed=0):
    """Grows `mlp`, `heads` and `embed` together by one of `copies.RULES`.

    Args:
      old: {axis: size} of the trained model.
      new: {axis: size} of the grown model.
      rule: name of the rule, e.g. "equal".
      seed: int, for a rule that draws units.

    Returns:
      Growth; exact for post-norm and pre-norm models if every unit of `embed` has equally
      many copies.
    """
    changes = {a: (old[a], new[a]) for a in AXES if a in old and old[a] != new[a]}
    for axis, (before, after) in changes.items():
        check(axis, before, after, rule)
    spec = copies.RULES[rule]
    index = {axis: copies.sources(rule, axis, *pair, seed) for axis, pair in changes.items()}
    grow = functools.partial(_spread, index=index, changes=changes, rule=rule)
    is_exact = "embed" not in changes or copies.is_whole(*changes["embed"])
    has_dual = is_exact and (spec.split == "equal" or "embed" not in changes)
    return types.Growth(
        name=rule,
        dimension="width",
        claim="exact" if is_exact else "no",
        changes=changes,
        weights=functools.partial(grow, split=lambda name: name.endswith("_in")),
        gradients=functools.partial(grow, split=is_output) if has_dual else None,
        copies=functools.partial(grow, split=lambda name: False),
        describe=", ".join(f"{a} {b} -> {c}" for a, (b, c) in changes.items()) + f" ({rule})",
        source=spec.paper,
        sources=index,
        exact_if=WHOLE_EMBED if spec.ratios == "any" else "",
        low_cost=spec.low_cost,
    )


def check(axis, before, after, rule):
    """Raises `InputError` if `rule` cannot grow `axis` from `before` to `after` units."""
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
            f"growth: embed goes from {before} to {after}; LayerNorm stays exact only if "
            f"every unit has equally many copies: set {field} to a multiple of {before}"
        )
    if ratios == "whole":
        raise errors.InputError(
            f"growth: {axis} goes from {before} to {after}; {rule} gives every unit equally "
            f"many copies: set {field} to a multiple of {before}, or choose width 'uneven'"
        )


def is_output(name):
    return not name.endswith("_in")


def _spread(params, axes, *, index, changes, rule, split):
    """Copies units along all axes in `changes`; multiplies by fractions if `split(name)`."""

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
                fraction = jnp.asarray(copies.fractions(rule, index[axis]), leaf.dtype)
                leaf = leaf * named_tree.along(fraction, dim, leaf)
        return leaf

    return named_tree.map_leaves(grow, params, axes), axes
