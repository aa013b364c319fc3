"""Width growth that passes LayerNorm at any ratio (LEMON)."""

import functools

import jax.numpy as jnp
import numpy as np

from bertgrow.core import tree
from bertgrow.growth import named_tree
from bertgrow.growth.operators import copies, width


def lemon(old, new, fresh=None, seed=0):
    """Whole tiles of the old units with uneven shares; the rest of `embed` holds their mean.

    LEMON (Wang et al., 2024): a vector tiled q times and filled up with its mean has the mean
    it had and s = q n / N of its variance, so LayerNorm gives the tiles as they were once its
    scale is multiplied by sqrt(s), and zero where it is filled. Its epsilon of 1e-12 would be
    multiplied by s too: to keep it moves outputs by less than float32 resolves.

    At other than whole ratios this needs a residual stream that is only added to: pre-norm
    layers stay exact, and post-norm layers, whose norm would have to write a mean, do not.
    Neither does the head of masked tokens, where an activation lies before the norm: hence
    the claim, which is about its logits.
    """
    growth = width.widen(old, new, rule="lemon")
    before, after = growth.changes.get("embed", (1, 1))
    if copies.is_whole(before, after):
        return growth
    fill = functools.partial(_fill, old=before, index=growth.sources["embed"])
    empty = functools.partial(_empty, index=growth.sources["embed"])
    return growth._replace(
        weights=named_tree.then(growth.weights, fill),
        copies=named_tree.then(growth.copies, empty),
    )


def _fill(params, axes, *, old, index):
    """Gives all that writes to or reads from the filled units of `embed` its values."""
    norms = _norms(axes)
    scale = float(np.sqrt((index >= 0).mean()))  # sqrt(s)

    def at_leaf(leaf, names, path):
        module, _, own = path.rpartition("/")
        for dim, name in enumerate(names):
            if tree.base(name) != "embed":
                continue
            if module in norms:
                leaf = leaf * scale if own == "scale" else _filled(leaf, dim, index, 0)
            elif width.is_output(name):
                tile = jnp.take(leaf, np.arange(old), axis=dim)
                leaf = _filled(leaf, dim, index, tile.mean(axis=dim, keepdims=True))
            if not width.is_output(name) and "layers" not in names:
                # Layers read zeros here and keep what they had, to have a gradient.
                leaf = _filled(leaf, dim, index, 0)
        return leaf

    return named_tree.map_leaves(at_leaf, params, axes), axes


def _empty(params, axes, *, index):
    """Statistics of filled units start at zero."""

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
