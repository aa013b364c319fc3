"""Depth growth: copies or adds layers along the axis `layers`."""

import functools

import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors, types
from bertgrow.growth import named_tree


def stack(old, new, fresh=None, seed=0):
    """Repeats the stack of old layers: layer i copies layer i mod n, e.g. [0, 1, 2, 0, 1, 2].

    StackBERT (Gong et al., 2019), which doubles the depth. Here the new depth can be any, and
    the old model can have one layer, as in CompoundGrow (Gu et al., 2021) and G_stack (Du et
    al., 2024).
    """
    index = np.arange(new["layers"]) % old["layers"]
    source = "Gong et al. (2019), StackBERT, section 3; Gu et al. (2021), section 3"
    return _by_index("stack", old, new, index, source)


def interleave(old, new, fresh=None, seed=0):
    """Inserts copies after each layer: layer i copies layer i n // N, e.g. [0, 0, 1, 1, 2, 2].

    The layer map of AutoProg (Li et al., 2022).
    """
    index = np.arange(new["layers"]) * old["layers"] // new["layers"]
    return _by_index("interleave", old, new, index, "Li et al. (2022), AutoProg, MoGrow")


def gradual(old, new, fresh=None, seed=0):
    """Adds copies of the last layers on top, e.g. [0, 1, 2, 3, 2, 3].

    Gradual stacking (Reddi et al., 2023), which adds a block of the same size each time.
    """
    return _with_top_copies("gradual", old, new, "Reddi et al. (2023), gradual stacking")


def midas(old, new, fresh=None, seed=0):
    """Inserts a copy of the middle block after it, e.g. [0, 1, 2, 3, 2, 3, 4, 5].

    MIDAS (Saunshi et al., 2024). The block size is the number of added layers. If the number
    of blocks is even, this copies the lower of the two middle blocks.
    """
    before, added = old["layers"], new["layers"] - old["layers"]
    if added > 0 and before % added:
        raise errors.InputError(
            f"growth: layers go from {before} to {new['layers']}; midas copies one of equal "
            f"blocks, and {before} layers have none of {added}: set num_layers to {before} "
            "plus one of its divisors, or choose depth 'gradual'"
        )
    end = ((before // added - 1) // 2 + 1) * added if added > 0 else before
    index = [*range(end), *range(end - added, before)]
    return _by_index("midas", old, new, index, "Saunshi et al. (2024), MIDAS")


def mslt(old, new, fresh=None, seed=0):
    """Copies layers as `gradual`, for stages that train only the new layers: [0, 1, 2, 1, 2].

    The growth of multi-stage layerwise training (Yang et al., 2020, "Progressively stacking
    2.0"). The method also trains only the new layers and the heads after each growth; set
    `frozen_layers` in that stage. A last stage trains all layers.
    """
    source = "Yang et al. (2020), Progressively stacking 2.0, section 3"
    return _with_top_copies("mslt", old, new, source)


def random(old, new, fresh=None, seed=0):
    """Adds freshly initialised layers on top. Their moments start at zero.

    The baseline that Gong et al. (2019) compare with stacking.

    Args:
      old: {axis: size}.
      new: {axis: size}.
      fresh: function () -> parameters of the new model. It is called inside the growth, so
        that jit captures no weights as constants.
    """
    return on_top("random", old, new, fresh, "Gong et al. (2019), StackBERT, section 3")


def on_top(name, old, new, fresh, source):
    """Growth by layers of a freshly initialised model; arguments as in `random`."""
    if fresh is None:
        raise errors.InputError(
            f"growth: depth {name!r} takes its new layers from a freshly initialised model and "
            "fresh is None; pass fresh, or choose depth 'stack' or 'interleave'"
        )
    changes = _changes(old, new)
    append = functools.partial(_append, old=old["layers"], new=new["layers"])
    copies = functools.partial(append, source=None)
    return types.Growth(
        name=name,
        dimension="depth",
        claim="no" if changes else "exact",
        changes=changes,
        weights=lambda params, axes: append(params, axes, source=named_tree.by_path(fresh())),
        gradients=None if changes else copies,
        copies=copies,
        describe=f"layers {old['layers']} -> {new['layers']} ({name})",
        source=source,
        sources=_sources(changes, [*range(old["layers"])] + [-1] * new["layers"]),
    )


def _with_top_copies(name, old, new, source):
    """Adds copies of the last layers on top, at most of all old layers."""
    before, added = old["layers"], new["layers"] - old["layers"]
    if added > before:
        raise errors.InputError(
            f"growth: layers go from {before} to {new['layers']}; {name} adds at most {before} "
            f"layers: set num_layers to at most {2 * before}, or choose depth 'stack'"
        )
    index = [*range(before), *range(before - added, before)]
    return _by_index(name, old, new, index, source)


def _by_index(name, old, new, index, source):
    changes, index = _changes(old, new), np.asarray(index)
    _check_light(name, new, index)
    grow = functools.partial(_restack, old=old["layers"], index=index)
    return types.Growth(
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


def _check_light(name, new, index):
    every = new.get("light", 0)
    if every and np.any(index % every != np.arange(len(index)) % every):
        raise errors.InputError(
            f"growth: {name} would move layers with light attention to other positions; set "
            "light_every of the later stage to 0, or choose depth 'stack'"
        )


def _restack(params, axes, *, old, index):
    """Indexes the axis `layers`. It is never sharded, so this moves no data between devices."""

    def grow(leaf, names, path):
        if "layers" not in names:
            return leaf
        dim = names.index("layers")
        named_tree.check_size(path, "layers", leaf.shape[dim], old)
        return jnp.take(leaf, index, axis=dim, mode="clip")

    return named_tree.map_leaves(grow, params, axes), axes


def _append(params, axes, *, old, new, source):
    """Adds layers `old` to `new` of `source` on top, or zeros if `source` is None."""

    def grow(leaf, names, path):
        if "layers" not in names or new == old:
            return leaf
        dim = names.index("layers")
        named_tree.check_size(path, "layers", leaf.shape[dim], old)
        shape = (*leaf.shape[:dim], new, *leaf.shape[dim + 1 :])
        top = jnp.zeros(shape, leaf.dtype) if source is None else source.get(path)
        if top is None or top.shape != shape:
            actual = "nothing" if top is None else f"shape {top.shape}"
            raise errors.InputError(
                f"growth: {path} of the fresh model has {actual}; expected "
                f"{shape}: initialise fresh at the sizes of the new stage"
            )
        top = jnp.take(top, np.arange(old, new), axis=dim, mode="clip")
        return jnp.concatenate([leaf, top.astype(leaf.dtype)], axis=dim)

    return named_tree.map_leaves(grow, params, axes), axes
