"""Depth growth: the axis `layers` is indexed anew, everything else stays."""

import functools

import jax.numpy as jnp
import numpy as np

from bertgrow import contracts, errors
from bertgrow.growth import named


def stack(old, new, fresh=None):
    """The old layers over again: layer i copies layer i mod n, e.g. [0, 1, 2, 0, 1, 2].

    StackBERT (Gong et al., 2019), which doubles; here to any depth, from one layer too, as
    in CompoundGrow (Gu et al., 2021) and G_stack (Du et al., 2024).
    """
    index = np.arange(new["layers"]) % old["layers"]
    source = "Gong et al. (2019), StackBERT, section 3; Gu et al. (2021), section 3"
    return _by_index("stack", old, new, index, source)


def interleave(old, new, fresh=None):
    """Copies of a layer beside it: layer i copies layer i n // N, e.g. [0, 0, 1, 1, 2, 2].

    The layer map of AutoProg (Li et al., 2022).
    """
    index = np.arange(new["layers"]) * old["layers"] // new["layers"]
    return _by_index("interleave", old, new, index, "Li et al. (2022), AutoProg, MoGrow")


def mslt(old, new, fresh=None):
    """Copies of the top layers on top, at most all of them: [0, 1, 2, 1, 2] for 3 -> 5.

    Multi-stage layerwise training (Yang et al., 2020, "Progressively stacking 2.0"), of which
    this is the growth. The method also trains only the new layers and the heads, by
    `frozen_layers` in the stage that grows, and all layers in a last stage.
    """
    before, after = old["layers"], new["layers"]
    if after > 2 * before:
        raise errors.InputError(
            f"growth: layers go from {before} to {after}; mslt copies the top layers once: set "
            f"num_layers to at most {2 * before}, or choose depth 'stack'"
        )
    index = np.concatenate([np.arange(before), np.arange(2 * before - after, before)])
    source = "Yang et al. (2020), Progressively stacking 2.0, section 3"
    return _by_index("mslt", old, new, index.astype(int), source)


def random(old, new, fresh=None):
    """The old layers, and freshly initialised ones on top; their moments start at zero.

    The control to which Gong et al. (2019) compare stacking.

    Args:
      old: {axis: size}.
      new: {axis: size}.
      fresh: function () -> parameters of the new model, called where growth runs, so that
        under jit no weights are captured as constants.
    """
    if fresh is None:
        raise errors.InputError(
            "growth: depth 'random' takes its new layers from a freshly initialised model and "
            "none was given; pass fresh, or choose depth 'stack' or 'interleave'"
        )
    changes = _changes(old, new)
    append = functools.partial(_append, old=old["layers"], new=new["layers"])
    copies = functools.partial(append, source=None)
    return contracts.Growth(
        name="random",
        dimension="depth",
        claim="no" if changes else "exact",
        changes=changes,
        weights=lambda params, axes: append(params, axes, source=named.by_path(fresh())),
        gradients=None if changes else copies,
        copies=copies,
        describe=f"layers {old['layers']} -> {new['layers']} (random)",
        source="Gong et al. (2019), StackBERT, section 3",
        sources=_sources(changes, [*range(old["layers"])] + [-1] * new["layers"]),
    )


def _by_index(name, old, new, index, source):
    changes = _changes(old, new)
    grow = functools.partial(_restack, old=old["layers"], index=index)
    return contracts.Growth(
        name=name,
        dimension="depth",
        claim="no" if changes else "exact",
        changes=changes,
        weights=grow,
        gradients=None if changes else grow,
        copies=grow,
        describe=f"layers {old['layers']} -> {new['layers']} ({name})",
        source=source,
        sources=_sources(changes, index),
    )


def _sources(changes, index):
    return {axis: np.asarray(index[:after]) for axis, (_, after) in changes.items()}


def _changes(old, new):
    before, after = old["layers"], new["layers"]
    if after < before:
        raise errors.InputError(
            f"growth: layers shrink from {before} to {after}; a later stage needs at least "
            f"{before}: change num_layers of one of the two stages"
        )
    return {} if after == before else {"layers": (before, after)}


def _restack(params, axes, *, old, index):
    """The axis `layers` is never sharded, so taking along it moves nothing."""

    def grow(leaf, names, path):
        if "layers" not in names:
            return leaf
        dim = names.index("layers")
        named.check_size(path, "layers", leaf.shape[dim], old)
        return jnp.take(leaf, index, axis=dim, mode="clip")

    return named.map_leaves(grow, params, axes), axes


def _append(params, axes, *, old, new, source):
    """Layers `old` to `new` of `source` on top, or zeros where it is None."""

    def grow(leaf, names, path):
        if "layers" not in names or new == old:
            return leaf
        dim = names.index("layers")
        named.check_size(path, "layers", leaf.shape[dim], old)
        shape = (*leaf.shape[:dim], new, *leaf.shape[dim + 1 :])
        top = jnp.zeros(shape, leaf.dtype) if source is None else source.get(path)
        if top is None or top.shape != shape:
            found = "nothing" if top is None else f"shape {top.shape}"
            raise errors.InputError(
                f"growth: depth 'random' found {found} at {path} of the fresh model where "
                f"{shape} was expected; initialise fresh at the sizes of the new stage"
            )
        top = jnp.take(top, np.arange(old, new), axis=dim, mode="clip")
        return jnp.concatenate([leaf, top.astype(leaf.dtype)], axis=dim)

    return named.map_leaves(grow, params, axes), axes
