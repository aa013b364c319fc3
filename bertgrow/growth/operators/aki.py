"""Width growth with new units from the layer above (AKI of bert2BERT)."""

import functools

import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors, tree
from bertgrow.growth import named_tree
from bertgrow.growth.operators import width


def aki(old, new, fresh=None, seed=0):
    """Keeps the old units first and copies the new units of a layer from the layer above.

    "Advanced knowledge initialization" of bert2BERT (Chen et al., 2022). Copies from the same
    layer stay tied; neighbouring layers have similar functions, so the new units come from
    the next layer. Incoming weights and fractions of outgoing weights are those of `fpi`, here
    at any ratio. The last layer, and weights outside the layers, copy their own units.
    """
    growth = width.widen(old, new, rule="aki")
    if not growth.changes:
        return growth._replace(exact_if="")
    if old.get("layers") == 1:
        raise errors.InputError(
            "growth: aki takes new units from the layer above, and there is only one layer; "
            "set num_layers of the earlier stage to 2 or more, or choose width 'fpi'"
        )
    above = functools.partial(_from_above, changes=growth.changes)
    return growth._replace(
        claim="no",
        weights=named_tree.then(growth.weights, above),
        gradients=None,
        copies=named_tree.then(growth.copies, above),
        exact_if="",
    )


def _from_above(params, axes, *, changes):
    """Replaces the new output units of each layer by those of the layer above."""

    def at_leaf(leaf, names, path):
        if "layers" not in names:
            return leaf
        layers = names.index("layers")
        up = np.minimum(np.arange(leaf.shape[layers]) + 1, leaf.shape[layers] - 1)
        above = jnp.take(leaf, up, axis=layers, mode="clip")
        for dim, name in enumerate(names):
            if name in changes:
                old, new = changes[tree.base(name)]
                leaf = jnp.where(
                    named_tree.along(np.arange(new) >= old, dim, leaf), above, leaf
                )
        return leaf

    return named_tree.map_leaves(at_leaf, params, axes), axes
