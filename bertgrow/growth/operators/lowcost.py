"""Width growth that converts a low-cost form of a layer to the full form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors, tree, types
from bertgrow.growth import named_tree


def merge(old, new, fresh=None, seed=0):
    """Merges a factorised FFN: each matrix is the product of its two factors.

    FFN factorisation of CompoundGrow (Gu et al., 2021). The paper uses parameter sharing
    instead. The full matrix has no earlier moments, so they start at zero.
    """
    _check_falls("rank", "ffn_rank", old, new)
    return _growth(
        "merge", "rank", old, new, exact=True, low_cost="ffn_rank",
        weights=_merge, copies=functools.partial(_merge, is_empty=True),
        source="Gu et al. (2021), section 3, FFN factorisation",
    )  # fmt: skip


def unshare(old, new, fresh=None, seed=0):
    """Gives light layers the query and key weights of the previous layer.

    After the released code of CompoundGrow (Gu et al., 2021). The matrices are the same, but
    their input is now the layer's own input and not that of the previous layer.
    """
    _check_falls("light", "light_every", old, new)
    copy = functools.partial(_copy_query_keys, every=old["light"])
    return _growth(
        "unshare", "light", old, new, exact=False, low_cost="light_every",
        weights=copy, copies=copy,
        source="Gu et al. (2021), released code, light attention",
    )  # fmt: skip


def _growth(name, axis, old, new, *, exact, weights, copies, source, low_cost):
    before, after = old[axis], new[axis]
    has_changed = before != after
    return types.Growth(
        name=name,
        dimension="width",
        claim="exact" if exact or not has_changed else "no",
        changes={axis: (before, after)} if has_changed else {},
        weights=weights if has_changed else named_tree.keep,
        gradients=None if has_changed else named_tree.keep,
        copies=copies if has_changed else named_tree.keep,
        describe=f"{axis} {before} -> {after} ({name})",
        source=source,
        low_cost=low_cost,
    )


def _check_falls(axis, field, old, new):
    if new[axis] not in (0, old[axis]):
        raise errors.InputError(
            f"growth: {axis} goes from {old[axis]} to {new[axis]}; a low-cost form can only be "
            f"undone: set {field} of the later stage to 0 or to {old[axis]}"
        )


def _merge(params, axes, *, is_empty=False):
    """Replaces `up/kernel` by `up_rank/kernel` [.., a, rank] times `up/kernel` [.., rank, b].

    With `is_empty`, the new `up/kernel` is zero.
    """
    named_tree.keep(params, axes)
    specs, leaves = named_tree.by_path(axes, is_leaf=tree.is_spec), named_tree.by_path(params)
    factors = [path for path, names in specs.items() if names[-1] == "rank"]
    for path in factors:
        module, _, name = path.rpartition("/")
        second = f"{module.removesuffix('_rank')}/{name}"
        product = jnp.matmul(leaves[path], leaves[second], precision="highest")
        names = jax.P(*specs[path][:-1], specs[second][-1])
        params = named_tree.replace(
            params, second, jnp.zeros_like(product) if is_empty else product
        )
        axes = named_tree.replace(axes, second, names)
        params, axes = (named_tree.without(nodes, {module}) for nodes in (params, axes))
    return params, axes


def _copy_query_keys(params, axes, *, every):
    """Copies the query and key weights of each light layer from the previous layer."""

    def at_leaf(leaf, names, path):
        if "layers" not in names or path.split("/")[-2] not in ("query", "key"):
            return leaf
        dim = names.index("layers")
        index = np.arange(leaf.shape[dim])
        index[every - 1 :: every] -= 1
        return jnp.take(leaf, index, axis=dim, mode="clip")

    return named_tree.map_leaves(at_leaf, params, axes), axes
