"""Width growth that is exact through LayerNorm at any ratio (LEMON)."""

import functools

import jax.numpy as jnp
import numpy as np

from bertgrow.core import tree
from bertgrow.growth import named_tree
from bertgrow.growth.operators import copies, width


def lemon(old, new, fresh=None, seed=0):
    """Tiles the old units with uneven fractions and fills the rest of `embed` with their mean.

    LEMON (Wang et al., 2024). A vector that is tiled q times and filled up with its mean
    keeps its mean and has s = q n / N of its variance. If the scale of LayerNorm is multiplied
    by sqrt(s), the outputs of the tiles do not change, and those of the filled units are zero.
    An exact growth would also multiply its epsilon of 1e-12 by s; to keep epsilon changes
    outputs by less than the precision of float32.

    At ratios that are not whole numbers, this needs a residual stream to which layers only
    add. Pre-norm layers stay exact. Post-norm layers do not, because their norm would have to
    output a mean. The masked-token head does not either, because an activation precedes its
    norm. The claim is about the logits of this head, and is therefore "no" there.
    """
    growth = width.widen(old, new, rule="lemon")
    before, after = growth.changes.get("embed", (1, 1))
    if copies.is_whole(before, after):
        return growth
    fill = functools.partial(_fill, old=before, index=growth.sources["embed"])
    zeros = functools.partial(_zero_filled, index=growth.sources["embed"])
    return growth._replace(
        weights=named_tree.then(growth.weights, fill),
        copies=named_tree.then(growth.copies, zeros),
    )


def _fill(params, axes, *, old, index):
    """Sets the weights whose inputs or outputs are the filled units of `embed`."""
    norms = _norms(axes)
    scale = float(np.sqrt((index >= 0).mean()))  # sqrt(s)

    def at_leaf(leaf, names, path):
        module, _, weight = path.rpartition("/")
        for dim, name in enumerate(names):
            if tree.base(name) != "embed":
                continue
            if module in norms:
                leaf = leaf * scale if weight == "scale" else _filled(leaf, dim, index, 0)
            elif width.is_output(name):
                tile = jnp.take(leaf, np.arange(old), axis=dim)
                leaf = _filled(leaf, dim, index, tile.mean(axis=dim, keepdims=True))
            if not width.is_output(name) and "layers" not in names:
                # In layers the inputs are zero here; their weights stay, to get a gradient.
                leaf = _filled(leaf, dim, index, 0)
        return leaf

    return named_tree.map_leaves(at_leaf, params, axes), axes


def _zero_filled(params, axes, *, index):
    """Sets the optimiser statistics of filled units to zero."""

    def at_leaf(leaf, names, path):
        for dim, name in enumerate(names):
            if tree.base(name) == "embed":
                leaf = _filled(leaf, dim, index, 0)
        return leaf

    return named_tree.map_leaves(at_leaf, params, axes), axes


def _filled(leaf, dim, index, value):
    return jnp.where(named_tree.along(index >= 0, dim, leaf), leaf, value).astype(leaf.dtype)


def _norms(axes):
    """Paths of the modules that are norms: those with a scale."""
    paths = named_tree.by_path(axes, is_leaf=tree.is_spec)
    return {path.removesuffix("/scale") for path in paths if path.endswith("/scale")}
