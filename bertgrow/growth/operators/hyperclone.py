"""Width growth by tiling with noise that cancels (HyperCloning)."""

import functools
import zlib

import jax
import jax.numpy as jnp

from bertgrow.core import keys, tree
from bertgrow.growth import named_tree
from bertgrow.growth.operators import width

SIGNAL_TO_NOISE = 10.0  # ratio of powers, the 10 dB of the paper


def hyperclone(old, new, fresh=None, seed=0):
    """Tiles the weights as `fpi` and adds noise to the tiles that sums to zero over them.

    HyperCloning (Samragh et al., 2024), symmetric with noise. All tiles of a matrix have
    equal inputs, so noise that cancels over the tiles does not change the outputs. The noise
    breaks the symmetry of the copies: they differ after the first step. Its power is a tenth
    of the matrix's, 10 dB. For more than two tiles the paper adds pairs of noise; this
    subtracts the mean instead. Without noise the result is that of `fpi`. Heads keep their
    size and grow in number, as the paper advises.
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
    """Draws normal values, float32 of `shape`, with zero sum over the tiles along `dim`."""
    tiles = new // old
    noise = jax.random.normal(key, (*shape[:dim], tiles, old, *shape[dim + 1 :]))
    noise = noise - noise.mean(axis=dim, keepdims=True)
    return (noise * (tiles / (tiles - 1)) ** 0.5).reshape(shape)
