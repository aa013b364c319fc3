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
    "fpi": "Chen et al. (2022), bert2BERT, function-preserving initialization",
    "sparkling": "Yu et al. (2026), SPARKLING, arXiv 2602.02472",
}
WHOLE = ("fpi", "sparkling")  # rules that copy every unit equally often


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


def fpi(old, new, fresh=None):
    """Old units first, then all of them over again: unit i copies unit i mod n.

    bert2BERT's function-preserving initialisation (Chen et al., 2022), which keeps old units
    where they are and divides by the number of copies; it draws which units to repeat, we
    repeat all of them in order, since only whole ratios pass LayerNorm unharmed. The same
    model as `equal` but for the order of its units; sharded axes have to move units for it.
    """
    return widen(old, new, rule="fpi")


def sparkling(old, new, fresh=None):
    """Copies with equal shares whose symmetry the optimiser breaks, not the weights.

    SPARKLING (Yu et al., 2026) keeps the RMS of all activations, resets the moments of the
    new units alone and warms up their rate alone: the first is the weights here, the second
    the moments policy "asymmetric", which it needs, the third `rewarmup_new`. After
    its abstract: they speak of a small jump of the loss, and plain copies at whole ratios,
    which keep every activation, have none.
    """
    return widen(old, new, rule="sparkling")._replace(needs="asymmetric")


def widen(old, new, *, rule):
    """Growth of `mlp` and `heads` at any ratio and `embed` at whole ratios, all at once.

    `fpi` and `sparkling` grow all of them at whole ratios.

    Args:
      old: {axis: size} of the trained model.
      new: {axis: size} of the model to come.
      rule: "equal", "uneven", "fpi" or "sparkling".

    Returns:
      Growth; exact for post-LN and pre-LN models.
    """
    changes = {a: (old[a], new[a]) for a in AXES if a in old and old[a] != new[a]}
    for axis, (before, after) in changes.items():
        check(axis, before, after, rule)
    grow = functools.partial(_spread, changes=changes, rule=rule)
    has_dual = rule != "uneven" or "embed" not in changes
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
        sources={a: source_units(*pair, order_of(rule)) for a, pair in changes.items()},
    )


def check(axis, before, after, rule):
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
    if rule in WHOLE and after % before:
        raise errors.InputError(
            f"growth: {axis} goes from {before} to {after}; {rule} copies every unit equally "
            f"often: set {field} to a multiple of {before}, or choose width 'uneven'"
        )


def is_output(name):
    return not name.endswith("_in")


def order_of(rule):
    """Where copies lie: "beside" their original, or all of them "behind" the old units."""
    return "behind" if rule == "fpi" else "beside"


def source_units(old, new, order="beside"):
    """int [new]: the old unit that each new unit copies, e.g. [0, 0, 1, 1] or [0, 1, 0, 1]."""
    units = np.arange(new)
    return units % old if order == "behind" else units * old // new


def shares(old, new, rule):
    """float [new]: what each copy keeps of an outgoing weight.

    A unit with c copies: 1/c each, or by the rule `uneven` (2j + 1) / c^2 for copy j, e.g.
    1/4 and 3/4. Powers of two keep the sum exact in floating point too.
    """
    index = source_units(old, new, order_of(rule))
    copies = np.bincount(index, minlength=old)[index]
    if rule != "uneven":
        return 1 / copies
    nth = np.arange(new) - np.searchsorted(index, index)
    return (2 * nth + 1) / copies**2


def copy_units(leaf, dim, new, order="beside"):
    """Repeats units along `dim`, beside their original or behind all, up to `new` of them.

    At a whole ratio by broadcast and reshape: every copy stays on the shard of its
    original, while a `take` along a sharded axis gathers the axis on every device.
    """
    old = leaf.shape[dim]
    if new % old:
        return jnp.take(leaf, source_units(old, new, order), axis=dim, mode="clip")
    at = dim if order == "behind" else dim + 1
    copies = jnp.expand_dims(leaf, at)
    copies = jnp.broadcast_to(copies, (*leaf.shape[:at], new // old, *leaf.shape[at:]))
    return copies.reshape(*leaf.shape[:dim], new, *leaf.shape[dim + 1 :])


def _spread(params, axes, *, changes, rule, split):
    """Copies along every axis in `changes`; multiplies by share where `split(axis name)`."""

    def grow(leaf, names, path):
        for dim, name in enumerate(names):
            if tree.base(name) not in changes:
                continue
            old, new = changes[tree.base(name)]
            named.check_size(path, name, leaf.shape[dim], old)
            leaf = copy_units(leaf, dim, new, order_of(rule))
            if split(name):
                others = [d for d in range(leaf.ndim) if d != dim]
                share = jnp.asarray(shares(old, new, rule), leaf.dtype)
                leaf = leaf * jnp.expand_dims(share, others)
        return leaf

    return named.map_leaves(grow, params, axes), axes
