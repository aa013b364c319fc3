"""Registry of growth operators, and their selection from two size tables."""

from bertgrow.core import errors, types
from bertgrow.growth.operators import aki, hyperclone, identity, lemon, lowcost, masked
from bertgrow.growth.operators import depth as depths
from bertgrow.growth.operators import length as lengths
from bertgrow.growth.operators import width as widths

# An operator is a function (old, new, fresh, seed) -> Growth. It raises InputError for sizes
# that it does not support. To add one, write it in a file of its own, cite its paper, and add
# it here; the contract test then covers it.
OPERATORS = {
    "width": {
        "equal": widths.equal,
        "uneven": widths.uneven,
        "fpi": widths.fpi,
        "sparkling": widths.sparkling,
        "net2net": widths.net2net,
        "aki": aki.aki,
        "hyperclone": hyperclone.hyperclone,
        "lemon": lemon.lemon,
        "merge": lowcost.merge,
        "unshare": lowcost.unshare,
        "msg": masked.wider,
    },
    "depth": {
        "stack": depths.stack,
        "interleave": depths.interleave,
        "mslt": depths.mslt,
        "random": depths.random,
        "gradual": depths.gradual,
        "midas": depths.midas,
        "identity": identity.identity,
        "msg": masked.deeper,
    },
    "length": {
        "unpool": lengths.unpool,
        "extend": lengths.extend,
        "lengthen": lengths.lengthen,
    },
}

DIMENSIONS = {"mlp": "width", "heads": "width", "embed": "width", "layers": "depth"}
# Axes with one operator only, in the order to apply them. A recipe does not name these.
SINGLE = {
    "rank": ("width", "merge"),
    "light": ("width", "unshare"),
    "pool": ("length", "unpool"),
    "positions": ("length", "extend"),
    "length": ("length", "lengthen"),
}

REASONS = {
    "kv": "the size of a head scales the attention; keep width / num_heads, e.g. by raising "
    "num_heads together with width",
    "vocab": "the vocabulary belongs to the data; use one vocabulary in all stages",
    "types": "use the same number of segment types in all stages",
    "norm_order": "weights of one order are useless in the other; use one order in all stages",
}


def between(old, new, *, width="uneven", depth="stack", fresh=None, seed=0):
    """Selects the operators that grow one model into another, in the order to apply them.

    The order is width, depth, length, so that copied layers already have their new shapes.
    Operators that remove a low-cost form of a layer count as width and follow the operator
    that widens. The choice depends only on sizes, so any model family with these axis names
    can grow.

    Args:
      old: {axis: size} of the trained model, as `Family.sizes` returns it, with `pool`
        (1 or absent: no pooling) and `length` (of the input sequences) if they change.
      new: {axis: size} of the grown model.
      width: operator that widens, e.g. "uneven"; see `OPERATORS`.
      depth: operator that deepens, e.g. "stack".
      fresh: function () -> new parameters, for operators that initialise some.
      seed: int, for operators that make other random choices.

    Returns:
      Tuple of Growth, empty if the tables are equal.
    """
    old, new = {"pool": 1, **old}, {"pool": 1, **new}
    _check_axes(old, new)
    changed = [axis for axis in old if old[axis] != new[axis]]
    dimensions = {DIMENSIONS.get(axis) for axis in changed}
    single = [choice for axis, choice in SINGLE.items() if axis in changed]
    makers = []
    if "width" in dimensions:
        makers.append(operator("width", width))
    makers += [OPERATORS["width"][name] for dimension, name in single if dimension == "width"]
    if "depth" in dimensions:
        makers.append(operator("depth", depth))
    makers += [OPERATORS["length"][name] for dimension, name in single if dimension == "length"]
    return tuple(make(old, new, fresh, seed) for make in makers)


def operator(dimension, name):
    """Returns the operator of this name; raises `InputError` if a recipe cannot name it."""
    known = named(dimension)
    if name not in known:
        raise errors.InputError(
            f"growth: no operator {name!r} for {dimension}; expected one of "
            f"{', '.join(known)}: change {dimension} in grow=dict(...)"
        )
    return OPERATORS[dimension][name]


def named(dimension):
    """Names of the operators of a dimension that a recipe can choose."""
    return [name for name in OPERATORS[dimension] if (dimension, name) not in SINGLE.values()]


def apply(growths, params, axes):
    """Applies `weights` of each growth in turn; returns the grown tree and its axes."""
    for growth in growths:
        params, axes = growth.weights(params, axes)
    return params, axes


def compose(growths):
    """Composes `growths` into one Growth. An empty tuple gives the identity."""
    growths = tuple(growths)

    def chain(maps):
        def run(params, axes):
            for grow_map in maps:
                params, axes = grow_map(params, axes)
            return params, axes

        return run

    has_dual = all(growth.gradients for growth in growths)
    return types.Growth(
        name="+".join(growth.name for growth in growths) or "identity",
        dimension="+".join(dict.fromkeys(growth.dimension for growth in growths)),
        claim="exact" if all(growth.claim == "exact" for growth in growths) else "no",
        changes={axis: pair for growth in growths for axis, pair in growth.changes.items()},
        weights=chain([growth.weights for growth in growths]),
        gradients=chain([growth.gradients for growth in growths]) if has_dual else None,
        copies=chain([growth.copies for growth in growths]),
        describe="; ".join(growth.describe for growth in growths),
        source="; ".join(dict.fromkeys(growth.source for growth in growths)),
        sources={axis: index for growth in growths for axis, index in growth.sources.items()},
        masks={axis: mask for growth in growths for axis, mask in growth.masks.items()},
        needs=next((growth.needs for growth in growths if growth.needs), ""),
    )


def _check_axes(old, new):
    for axis in sorted(old.keys() | new.keys()):
        if axis not in old or axis not in new:
            present, absent = ("new", "old") if axis in new else ("old", "new")
            raise errors.InputError(
                f"growth: the {present} sizes have axis {axis} and the {absent} sizes do not; "
                "growth leads between models of one family: use one family in all stages"
            )
        if old[axis] != new[axis] and axis not in DIMENSIONS | SINGLE:
            reason = REASONS.get(axis, "no operator grows this axis; keep it the same")
            raise errors.InputError(
                f"growth: {axis} changes from {old[axis]} to {new[axis]}; {reason}"
            )
