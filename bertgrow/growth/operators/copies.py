"""Source unit of each copy on a wider axis, and its fraction of the outgoing weights."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np


class Rule(NamedTuple):
    """Rule by which a method widens an axis."""

    order: str  # copies are "beside" their original, "behind" all old units, or "drawn"
    split: str  # of outgoing weights: "equal", or "uneven", which breaks the symmetry
    ratios: str  # that it supports: "whole"; "any"; "whole embed": any for other axes
    paper: str
    low_cost: str = ""
    fills: bool = False  # units of `embed` beyond a whole ratio are not copies


NET2NET = "Chen et al. (2016), Net2Net"
BERT2BERT = "Chen et al. (2022), bert2BERT"
LEMON = "Wang et al. (2024), LEMON"
SHARING = "Gu et al. (2021), section 3, parameter sharing"
RULES = {
    "equal": Rule("beside", "equal", "whole embed", f"{SHARING}; {NET2NET}", "ffn_share"),
    "uneven": Rule(
        "beside", "uneven", "whole embed", f"{NET2NET}; uneven after {LEMON}", "ffn_share"
    ),
    "fpi": Rule("behind", "equal", "whole", f"{BERT2BERT}, function-preserving initialization"),
    "sparkling": Rule(
        "beside", "equal", "whole", "Yu et al. (2026), SPARKLING, arXiv 2602.02472"
    ),
    "net2net": Rule("drawn", "equal", "any", f"{NET2NET}, Net2WiderNet"),
    "aki": Rule("behind", "equal", "any", f"{BERT2BERT}, advanced knowledge initialization"),
    "hyperclone": Rule(
        "behind", "equal", "whole", "Samragh et al. (2024), HyperCloning, arXiv 2409.12903"
    ),
    "lemon": Rule("behind", "uneven", "any", LEMON, fills=True),
}


def is_whole(old, new):
    return new % old == 0


def sources(name, axis, old, new, seed=0):
    """Returns the old unit that each new unit of `axis` copies, int [new]; -1: no copy.

    E.g. [0, 0, 1, 1] for copies "beside" their original, [0, 1, 0, 1] for copies "behind" all
    old units. Only the order "drawn" depends on `seed`.
    """
    rule, units = RULES[name], np.arange(new)
    if rule.order == "beside":
        return units * old // new
    if rule.order == "drawn":
        return _drawn(old, new, seed)
    filled = rule.fills and axis == "embed"
    return np.where(filled & (units >= new // old * old), -1, units % old)


def fractions(name, index):
    """Returns the fraction of an outgoing weight that each copy keeps, float [new].

    For a unit with c copies, an equal split gives each copy 1/c, and an uneven split gives
    copy j (2j + 1) / c^2, e.g. 1/4 and 3/4. If c is a power of two, the sum is exact in
    floating point too. A unit that is not a copy keeps the whole weight.
    """
    unit = np.where(index < 0, np.arange(len(index)) + index.max() + 1, index)
    num_copies = np.bincount(unit)[unit]
    if RULES[name].split == "equal":
        return 1 / num_copies
    order = np.argsort(unit, kind="stable")
    copy = np.empty_like(unit)
    copy[order] = np.arange(len(unit)) - np.searchsorted(unit[order], unit[order])
    return (2 * copy + 1) / num_copies**2


def take(leaf, dim, index):
    """Copies units along `dim`: new unit i is old unit `index[i]`.

    If all units are repeated equally often in the order "beside" or "behind", this uses
    broadcast and reshape. With "beside", every copy stays on the shard of its original; a
    `take` along a sharded axis would gather the axis on every device.
    """
    old, new = leaf.shape[dim], len(index)
    units, times = np.arange(old), new // old
    if np.array_equal(index, np.repeat(units, times)):
        at = dim + 1
    elif np.array_equal(index, np.tile(units, times)):
        at = dim
    else:
        return jnp.take(leaf, index, axis=dim, mode="clip")
    copies = jnp.expand_dims(leaf, at)
    copies = jnp.broadcast_to(copies, (*leaf.shape[:at], times, *leaf.shape[at:]))
    return copies.reshape(*leaf.shape[:dim], new, *leaf.shape[dim + 1 :])


def _drawn(old, new, seed):
    """Returns the old units, followed by random permutations of them, cut to `new` units.

    Net2Net draws with replacement. Drawing without replacement gives all units equally many
    copies at whole ratios, which LayerNorm needs to give the same outputs.
    """
    random = np.random.default_rng((seed, old, new))
    rounds = [random.permutation(old) for _ in range(new // old)]
    return np.concatenate([np.arange(old), *rounds])[:new]
