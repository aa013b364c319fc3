"""Sizes and FLOPs of every stage, compared with a plain recipe."""

from bertgrow.core import flops
from bertgrow.models import families
from bertgrow.objectives import transition

HEADS = ("mlm", "nsp")  # modules used in pre-training only; all others are the encoder


def stage_row(context, stage):
    """Sizes, parameters, tokens, FLOPs and growth of one stage, as a dict for `plan --json`.

    Args:
      context: `StageContext`.
      stage: `Stage` of this context.
    """
    family, config = context.family, context.stage
    parameters = dict(encoder=0, heads=0)
    for name, count in families.parameters(family, config.model).items():
        parameters["heads" if name in HEADS else "encoder"] += count
    return dict(
        name=config.name,
        task=config.task,
        start=config.start,
        steps=config.steps,
        batch=config.batch,
        length=config.length,
        predictions=config.masking.num_predictions(config.length),
        **families.shape(family, config.model),
        parameters=parameters,
        tokens=config.steps * config.batch * config.length,
        flops_per_step=stage.flops,
        flops=config.steps * stage.flops,
        growth=[
            dict(operator=growth.name, claim=growth.claim, changed=growth.describe)
            for growth in operators(context) or ()
        ],
    )


def operators(context):
    """Growth operators into a stage; None if it does not continue the stage before."""
    old, new = context.previous, context.stage
    if old is None or old.task != new.task:
        return None
    return transition.growths(context.family, old, new, context.settings.seed)


def compare(rows):
    """Compares the stages with a plain recipe: model, batch and length of the last stage.

    If the stages have different tasks, there is no such recipe, and `plain` is absent.

    Args:
      rows: `stage_row` of every stage; gets `share_of_plain`.

    Returns:
      A dict with `stages`, their sums, `plain` and the speed-up in FLOPs.
    """
    last = rows[-1]
    sums = {name: sum(row[name] for row in rows) for name in ("steps", "tokens", "flops")}
    plan = dict(stages=rows) | sums
    if any(row["task"] != last["task"] for row in rows):
        return plan
    plain = dict(
        steps=plan["steps"],
        tokens=plan["steps"] * last["batch"] * last["length"],
        flops_per_step=last["flops_per_step"],
        flops=plan["steps"] * last["flops_per_step"],
    )
    for row in rows:
        row["share_of_plain"] = row["flops"] / plain["flops"]
    costs = [(row["steps"], row["flops_per_step"]) for row in rows]
    speedup = flops.speedup(costs, (plan["steps"], last["flops_per_step"]))
    per_token = (1 + speedup) * plan["tokens"] / plain["tokens"] - 1
    return plan | dict(
        plain=plain,
        speedup_percent=100 * speedup,
        speedup_percent_equal_tokens=100 * per_token,
    )
