"""Depth growth by layers that are the identity at first, pre-norm and post-norm."""

import jax.numpy as jnp
import numpy as np

from bertgrow.core import tree
from bertgrow.growth import named_tree
from bertgrow.growth.operators import depth

SOURCE = "Gesmundo and Maile (2023), layer addition"
LAST_NORM = "mlp_norm"  # of a post-norm layer: it normalises the output
AT_ONE = {"scale": 1.0, "bias": 0.0}  # values at which a norm keeps what is normalised


def identity(old, new, fresh=None, seed=0):
    """Adds fresh layers on top with zero output matrices.

    "Layer addition" of Gesmundo and Maile (2023). Such a layer adds zero to the residual
    stream, so a pre-norm layer is the identity. A post-norm layer still normalises its input.
    Here scale and shift of the last norm move from the old top layer to the new one, and all
    norms between them have scale 1 and shift 0: they normalise what is normalised already.

    Args:
      old: {axis: size} and `norm_order`.
      new: the same for the grown model.
      fresh: function () -> parameters of the new model, see `depth.random`.
    """
    growth = depth.on_top("identity", old, new, fresh, SOURCE)
    order, condition = old.get("norm_order"), "the model has a norm_order, as BERT has"
    if not growth.changes:
        return growth._replace(exact_if=condition)
    sizes = dict(first=old["layers"], last=new["layers"] - 1)

    def weights(params, axes):
        grown = _zero_outputs(*growth.weights(params, axes), first=old["layers"])
        return _move_norm(*grown, **sizes) if order == "post" else grown

    claim = "exact" if order in ("pre", "post") else "no"
    return growth._replace(weights=weights, claim=claim, exact_if=condition)


def _move_norm(params, axes, *, first, last):
    """Moves the last norm of layer `first - 1` to layer `last`; norms between are `AT_ONE`."""

    def at_leaf(leaf, names, path):
        module, _, kind = path.rpartition("/")
        if names != ("layers", "embed") or not module.endswith("_norm"):
            return leaf
        layers = np.arange(leaf.shape[0])
        is_last = module.endswith(LAST_NORM)
        between = (layers >= first) | (is_last & (layers == first - 1))
        filled = jnp.where(between[:, None], AT_ONE[kind], leaf).astype(leaf.dtype)
        if not is_last:
            return filled
        return jnp.where((layers == last)[:, None], leaf[first - 1], filled)

    return named_tree.map_leaves(at_leaf, params, axes), axes


def _zero_outputs(params, axes, *, first):
    """Sets to zero, from layer `first` on, the modules that add to the residual stream."""
    specs = named_tree.by_path(axes, is_leaf=tree.is_spec)
    modules = {
        path.rpartition("/")[0] for path, names in specs.items() if _adds_to_stream(names)
    }

    def at_leaf(leaf, names, path):
        if path.rpartition("/")[0] not in modules:
            return leaf
        dim = names.index("layers")
        is_old = named_tree.along(np.arange(leaf.shape[dim]) < first, dim, leaf)
        return jnp.where(is_old, leaf, 0).astype(leaf.dtype)

    return named_tree.map_leaves(at_leaf, params, axes), axes


def _adds_to_stream(names):
    """Whether `embed` is the output axis of a layer's matrix."""
    is_matrix = any(name.endswith("_in") for name in names)
    return is_matrix and "layers" in names and "embed" in names
