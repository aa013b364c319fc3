"""Width growth by tiles that noise tells apart (HyperCloning)."""

import functools
import zlib

import jax
import jax.numpy as jnp

from bertgrow.core import keys, tree
from bertgrow.growth import named_tree
from bertgrow.growth.operators import width

SIGNAL_TO_NOISE = 10.0  # of powers, the 10 dB of the paper


def hyperclone(old, new, fresh=None, seed=0):
    """The model tiled as by `fpi`, and noise in the tiles of a matrix that sums to zero.

    HyperCloning (Samragh et al., 2024), symmetric with noise: all tiles of a matrix read
    equal inputs, so noise that cancels over them changes nothing, and copies part at the
    first step. Its power is a tenth of the matrix's, 10 dB. For more than two tiles, where
    they add pairs, we subtract the mean. Without noise it is `fpi`. Heads keep their
    size and grow in number, as they advise.
    """
    growth = width.widen(old, new, rule="hyperclone")
    if not growth.changes:
        return growth
    noise = functools.partial(_with_noise, changes=growth.changes, seed=seed)
    weights = named_tree.then(growth.weights, noise)
    return growth._replace(weights=weights, gradients=None, seed=seed)


def _with_noise(params, axes, *, changes, seed):
    def at_leaf(leaf, names, path):
        outputs = [name for name in names if width.is_output(name) and name != "layers"]
        for dim, name in enumerate(names):
            if outputs and not width.is_output(name) and tree.base(name) in changes:
                key = keys.derive(
                    jax.random.key(seed), keys.Purpose.COPIES, zlib.crc32(path.encode())
                )
                noise = _cancelling(key, leaf.shape, dim, *changes[tree.base(name)])
                scale = jnp.sqrt(jnp.square(leaf.astype(jnp.float32)).mean() / SIGNAL_TO_NOISE)
                leaf = (leaf + scale * noise).astype(leaf.dtype)
        return leaf

    return named_tree.map_leaves(at_leaf, params, axes), axes


def _cancelling(key, shape, dim, old, new):
    """Normal values, float32 of `shape`, whose sum over the tiles along `dim` is zero."""
    tiles = new // old
    noise = jax.random.normal(key, (*shape[:dim], tiles, old, *shape[dim + 1 :]))
    noise = noise - noise.mean(axis=dim, keepdims=True)
    return (noise * (tiles / (tiles - 1)) ** 0.5).reshape(shape)
