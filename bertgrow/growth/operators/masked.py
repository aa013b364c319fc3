"""Masked structural growth (MSG, Yao et al., 2024): what is new is hidden, then let in slowly.

New units and layers start anyhow, multiplied by a mask that rises from 0 to 1 over the first
steps of the stage. At 0 the model is the old one, exactly; at 1 it is the plain grown model, so
the merge in the end is the identity. Here the mask multiplies the weights that sum over the new
units, or that a new layer adds to the residual stream: a pure function of the parameters.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors, tree, types
from bertgrow.growth import named_tree
from bertgrow.growth.operators import depth

AXES = {"mlp": "ffn_width", "heads": "num_heads"}  # and the recipe's field
SOURCE = "Yao et al. (2024), Masked structural growth, section 3"


def wider(old, new, fresh=None, seed=0):
    """Freshly initialised units behind the old ones, which the model meets little by little.

    MSG (Yao et al., 2024) for `mlp` and `heads`, at any ratio; it needs `ramp`, the steps
    until the mask is 1. For `embed` the paper masks the mean and variance of every LayerNorm,
    which this model does not. The optimiser keeps the moments of old units ("copy").
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
            "every LayerNorm, which this model does not: widen embed by 'uneven' in a stage of "
            "its own, or choose width 'uneven' for all"
        )
    sizes = ", ".join(f"{axis} {a} -> {b}" for axis, (a, b) in changes.items())
    return _growth("width", changes, fresh, f"{sizes} (msg)")


def deeper(old, new, fresh=None, seed=0):
    """Freshly initialised layers on top, which the model meets little by little.

    MSG (Yao et al., 2024), `m f(x) + (1 - m) x`, for pre-LN models (`norm_order` "pre"), where
    a layer only adds to the residual stream and masking what it adds is the same. A post-LN
    layer normalises what it leaves behind and cannot be hidden by its weights.
    """
    changes = depth.stack(old, new).changes
    if changes and new.get("norm_order") != "pre":
        raise errors.InputError(
            "growth: msg hides new layers by what they add to the residual stream, which "
            "takes norm_order 'pre'; choose depth 'stack' for a post-LN model"
        )
    return _growth("depth", changes, fresh, f"layers {old['layers']} -> {new['layers']} (msg)")


def hide(params, axes, masks, share):
    """The parameters with everything new multiplied by `share`, 0 to hide it and 1 to merge.

    Args:
      params: of the grown model.
      axes: their axis names.
      masks: {axis: bool [size]}, true where new, as in `Growth.masks`.
      share: float scalar, traced or not.
    """
    if not masks:
        return params

    def at_leaf(path, names, leaf):
        for dim, name in enumerate(names):
            is_summed = name.endswith("_in") and tree.base(name) in masks
            if is_summed or (name == "layers" in masks and _adds(path, axes)):
                others = [d for d in range(leaf.ndim) if d != dim]
                factor = jnp.where(masks[tree.base(name)], share, 1).astype(leaf.dtype)
                leaf = leaf * jnp.expand_dims(factor, others)
        return leaf

    return jax.tree_util.tree_map_with_path(at_leaf, axes, params, is_leaf=tree.is_spec)


def ramped(task, masks, *, start, ramp):
    """`task`, whose model shows its new parts by the share (step - start) / ramp, at most 1.

    Args:
      task: Task of the grown model.
      masks: of `Growth.masks`.
      start: step of the growth.
      ramp: steps until nothing is hidden any more.
    """

    def view(params, step):
        share = jnp.clip((step - start) / ramp, 0, 1)
        return hide(params, task.axes, masks, share)

    return task._replace(view=view) if masks else task


def _adds(path, axes):
    """Whether a weight is of a dense layer that adds to the residual stream, e.g. `down`."""
    module = functools.reduce(lambda node, key: node[key.key], path[:-1], axes)
    kernel = tuple(module.get("kernel", ())) if isinstance(module, dict) else ()
    return len(kernel) > 1 and kernel[-1] == "embed"


def _growth(dimension, changes, fresh, describe):
    if changes and fresh is None:
        raise errors.InputError(
            f"growth: {dimension} 'msg' takes what is new from a freshly initialised model and "
            "none was given; pass fresh, or choose another operator"
        )
    enlarge = functools.partial(_enlarge, changes=changes)
    copies = functools.partial(enlarge, source=None)
    old_first = {a: np.arange(after) >= before for a, (before, after) in changes.items()}
    return types.Growth(
        name="msg",
        dimension=dimension,
        claim="exact",
        changes=changes,
        weights=lambda params, axes: enlarge(
            params, axes, source=named_tree.by_path(fresh()) if changes else None
        ),
        gradients=copies,  # what is hidden gets no gradient
        copies=copies,
        describe=describe,
        source=SOURCE,
        sources={
            axis: np.where(is_new, -1, np.arange(len(is_new)))
            for axis, is_new in old_first.items()
        },
        masks=old_first,
    )


def _enlarge(params, axes, *, changes, source):
    """Old weights in the lower corner of those of `source`, or of zeros where it is None."""

    def grow(leaf, names, path):
        shape = list(leaf.shape)
        for dim, name in enumerate(names):
            if tree.base(name) in changes:
                old, shape[dim] = changes[tree.base(name)]
                named_tree.check_size(path, name, leaf.shape[dim], old)
        if tuple(shape) == leaf.shape:
            return leaf
        around = jnp.zeros(shape, leaf.dtype)
        if source is not None:
            found = source.get(path)
            if found is None or any(a < b for a, b in zip(found.shape, shape, strict=True)):
                raise errors.InputError(
                    f"growth: 'msg' found no {path} of at least {tuple(shape)} in the fresh "
                    "model; initialise fresh at the sizes of the new stage"
                )
            around = found[tuple(map(slice, shape))].astype(leaf.dtype)
        return jax.lax.dynamic_update_slice(around, leaf, [0] * leaf.ndim)

    return named_tree.map_leaves(grow, params, axes), axes
