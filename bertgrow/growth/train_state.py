"""Grows a train state: parameters, optimiser moments and optimiser counts."""

from bertgrow.core import errors
from bertgrow.growth import moments as statistics
from bertgrow.growth import registry

POLICIES = ("reset", "copy", "exact", "asymmetric")


def grow_state(state, growths, axes, *, optimizer_init, moments="reset", counts=None):
    """Grows a train state. A pure function of `state`, so it can be compiled.

    Args:
      state: TrainState; `step` and `key` are kept.
      growths: tuple of Growth, as `registry.between` returns it.
      axes: axis names of `state.params`.
      optimizer_init: `init` of the new stage's optimiser.
      moments: "reset": start from zero, as published. "copy": each unit and layer takes
        the moments of its source. "exact": the moments that the grown model would have from
        the same gradients (without dropout and clipping). "asymmetric": as "copy", but new
        units and layers start from zero. Or a policy for each dimension, e.g.
        {"width": "exact", "depth": "copy", "length": "copy"}.
      counts: "keep" or "reset" the optimiser's other leaves; None follows `moments`. Zero
        moments with kept counts lack their bias correction.

    Returns:
      TrainState.
    """
    growths = tuple(growths)
    rules = policies(growths, moments)
    is_reset = "reset" in rules or (not rules and moments == "reset")
    counts = counts or ("reset" if is_reset else "keep")
    if counts not in ("keep", "reset"):
        raise errors.InputError(f"growth: counts is {counts!r}, expected 'keep' or 'reset'")

    params, _ = registry.apply(growths, state.params, axes)
    new_opt_state = optimizer_init(params)
    moment_map = {
        "exact": lambda growth: growth.gradients,
        "copy": lambda growth: growth.copies,
        "asymmetric": statistics.asymmetric,
    }
    opt_state = statistics.carry(
        state.opt_state,
        new_opt_state,
        state.params,
        axes,
        maps=None
        if is_reset
        else [moment_map[rule](growth) for rule, growth in zip(rules, growths, strict=True)],
        weights=[growth.weights for growth in growths],
        is_exact="exact" in rules,
        counts=counts,
    )
    return state._replace(params=params, opt_state=opt_state)


def policies(growths, moments):
    """Returns the checked moments policy of each operator, a list of `POLICIES`."""
    rules = []
    for growth in growths:
        rule = moments.get(growth.dimension) if isinstance(moments, dict) else moments
        if rule not in POLICIES:
            raise errors.InputError(
                f"growth: moments for {growth.dimension} is {rule!r}; "
                f"expected one of {', '.join(POLICIES)}"
            )
        if rule == "exact" and growth.gradients is None:
            raise errors.InputError(
                f"growth: {growth.name} ({growth.describe}) has no rule for moments "
                f"'exact'; set moments to 'copy' or 'reset' for {growth.dimension}"
            )
        if growth.needs not in ("", rule):
            raise errors.InputError(
                f"growth: {growth.name} needs moments {growth.needs!r}, which give its copies "
                f"different updates, and has {rule!r}; set moments to {growth.needs!r}, or "
                f"choose another {growth.dimension}"
            )
        rules.append(rule)
    if len(set(rules)) > 1 and "reset" in rules:
        raise errors.InputError(
            "growth: moments are 'reset' for one dimension and kept for another; set "
            "'reset' for all dimensions, or 'copy' in place of 'reset'"
        )
    return rules
