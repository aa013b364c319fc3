"""Masked structural growth (MSG, Yao et al., 2024): a mask ramps in new units and layers.

New units and layers have any initial values. A mask that multiplies them rises from 0 to 1 over
the first steps of the stage. At mask 0 the outputs are exactly those of the old model. At mask
1 the model is the plain grown model, so no merge is needed at the end. Here the mask multiplies
the weights that sum over the new units, or the weights by which a new layer adds to the
residual stream. This makes masking a pure function of the parameters.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors, tree, types
from bertgrow.growth import named_tree
from bertgrow.growth.operators import depth

AXES = {"mlp": "ffn_width", "heads": "num_heads"}  # axis: field of the recipe
SOURCE = "Yao et al. (2024), Masked structural growth, section 3"


def wider(old, new, fresh=None, seed=0):
    """Adds freshly initialised units behind the old ones and ramps them in by a mask.

    MSG (Yao et al., 2024) for `mlp` and `heads`, at any ratio. It needs `ramp`, the number of
    steps until the mask is 1. For `embed` the paper masks the mean and variance of every
    LayerNorm, which this model does not support. The optimiser keeps the moments of old units
    ("copy").
    """
    changes = {a: (old[a], new[a]) for a in AXES if a in old and old[a] != new[a]}
    for axis, (before, after) in changes.items():
        if after < before:
            raise errors.InputError(
                f"growth: {axis} shrinks from {before} to {after}; a later stage needs at "
                f"least {before}: change {AXES[axis]} of one of the two stages"
            )
    if old.get("embed") != new.get("embed"):
        raise errors.InputError(
            f"growth: embed goes from {old['embed']} to {new['embed']}; msg would have to mask "
            "every LayerNorm, which is not supported: widen embed by 'uneven' in a stage of "
            "its own, or choose width 'uneven' for all"
        )
    sizes = ", ".join(f"{axis} {a} -> {b}" for axis, (a, b) in changes.items())
    return _growth("width", changes, fresh, f"{sizes} (msg)")


def deeper(old, new, fresh=None, seed=0):
    """Adds freshly initialised layers on top and ramps them in by a mask.

    MSG (Yao et al., 2024), `m f(x) + (1 - m) x`, for pre-norm models (`norm_order` "pre").
    There a layer only adds to the residual stream, and masking the added term is equivalent.
    A post-norm layer normalises its output, so masking its weights cannot make it the
    identity.
    """
    changes = depth.stack(old, new).changes
    if changes and new.get("norm_order") != "pre":
        raise errors.InputError(
            "growth: msg masks the term that a new layer adds to the residual stream, which "
            "needs norm_order 'pre'; choose depth 'stack' for a post-norm model"
        )
    return _growth("depth", changes, fresh, f"layers {old['layers']} -> {new['layers']} (msg)")


def mask_params(params, axes, masks, value):
    """Multiplies the new parts of the parameters by the mask value `value`.

    Args:
      params: of the grown model.
      axes: their axis names.
      masks: {axis: bool [size]}, true at new units or layers, as in `Growth.masks`.
      value: float scalar from 0 (fully masked) to 1 (no mask), traced or not.
    """
    if not masks:
        return params

    def at_leaf(path, names, leaf):
        for dim, name in enumerate(names):
            is_summed = name.endswith("_in") and tree.base(name) in masks
            if is_summed or (name == "layers" in masks and _adds(path, axes)):
                others = [d for d in range(leaf.ndim) if d != dim]
                factor = jnp.where(masks[tree.base(name)], value, 1).astype(leaf.dtype)
                leaf = leaf * jnp.expand_dims(factor, others)
        return leaf

    return jax.tree_util.tree_map_with_path(at_leaf, axes, params, is_leaf=tree.is_spec)


def ramp_in(task, masks, *, start, ramp):
    """Returns `task` with the mask value (step - start) / ramp, from 0 to 1.

    Args:
      task: Task of the grown model.
      masks: from `Growth.masks`.
      start: step of the growth.
      ramp: steps until the mask value is 1.
    """

    def masked_params(params, step):
        value = jnp.clip((step - start) / ramp, 0, 1)
        return mask_params(params, task.axes, masks, value)

    return task._replace(masked_params=masked_params) if masks else task


def _adds(path, axes):
    """Whether a weight is in a dense layer that adds to the residual stream, e.g. `down`."""
    module = functools.reduce(lambda node, key: node[key.key], path[:-1], axes)
    kernel = tuple(module.get("kernel", ())) if isinstance(module, dict) else ()
    return len(kernel) > 1 and kernel[-1] == "embed"


def _growth(dimension, changes, fresh, describe):
    if changes and fresh is None:
        raise errors.InputError(
            f"growth: {dimension} 'msg' takes new weights from a freshly initialised model and "
            "fresh is None; pass fresh, or choose another operator"
        )
    enlarge = functools.partial(_enlarge, changes=changes)
    copies = functools.partial(enlarge, source=None)
    masks = {a: np.arange(after) >= before for a, (before, after) in changes.items()}
    return types.Growth(
        name="msg",
        dimension=dimension,
        claim="exact",
        changes=changes,
        weights=lambda params, axes: enlarge(
            params, axes, source=named_tree.by_path(fresh()) if changes else None
        ),
        gradients=copies,  # masked units get no gradient
        copies=copies,
        describe=describe,
        source=SOURCE,
        sources={
            axis: np.where(is_new, -1, np.arange(len(is_new))) for axis, is_new in masks.items()
        },
        masks=masks,
    )


def _enlarge(params, axes, *, changes, source):
    """Writes the old weights to the first units of `source`, or of zeros if it is None."""

    def grow(leaf, names, path):
        shape = list(leaf.shape)
        for dim, name in enumerate(names):
            if tree.base(name) in changes:
                old, shape[dim] = changes[tree.base(name)]
                named_tree.check_size(path, name, leaf.shape[dim], old)
        if tuple(shape) == leaf.shape:
            return leaf
        grown = jnp.zeros(shape, leaf.dtype)
        if source is not None:
            new = source.get(path)
            if new is None or any(a < b for a, b in zip(new.shape, shape, strict=True)):
                raise errors.InputError(
                    f"growth: 'msg' needs {path} of shape {tuple(shape)} or larger in the "
                    "fresh model; initialise fresh at the sizes of the new stage"
                )
            grown = new[tuple(map(slice, shape))].astype(leaf.dtype)
        return jax.lax.dynamic_update_slice(grown, leaf, [0] * leaf.ndim)

    return named_tree.map_leaves(grow, params, axes), axes
