"""Sentences that say what the estimates of a plan assume."""

from bertgrow.core import units
from bertgrow.objectives import stages


def sentences(settings, plan, contexts):
    """Lists the assumptions of a plan without time and cost.

    Args:
      settings: `RunConfig`.
      plan: output of `comparison.compare`, with `mesh`.
      contexts: `StageContext` of every stage.
    """
    return [
        *_flops(plan),
        *_vocabulary(settings),
        *_memory(settings, plan),
        *_remarks(contexts),
    ]


def _flops(plan):
    yield (
        "FLOPs are those of matrix products, forward once and backward twice; tokens count "
        "padding"
    )
    plain = plan.get("plain")
    if not plain:
        yield "stages have different tasks: there is no plain recipe to compare them with"
        return
    yield (
        f"the plain recipe trains the last stage's model, batch and length for all "
        f"{plan['steps']:,} steps"
    )
    if plain["tokens"] != plan["tokens"]:
        tokens, speedup = units.si(plan["tokens"]), plan["speedup_percent_equal_tokens"]
        yield (
            f"that is {units.si(plain['tokens'])} tokens against {tokens} of the stages; per "
            f"token the speed-up is {speedup:+.1f} %"
        )


def _vocabulary(settings):
    source = "the store" if settings.data.store else "the recipe, which a run checks"
    yield f"the vocabulary has {settings.model.vocab_size:,} tokens, by {source}"


def _memory(settings, plan):
    yield (
        f"activations are in {settings.model.dtype}: all that the backward pass needs, and the "
        "working memory of two layers; the compiler for CPUs asked for 2 to 12 % less"
    )
    yield (
        "evaluations have the micro-batch of the step, and their FLOPs are not part of those "
        "of training: two forward passes, or more, over config.eval.rows sequences"
    )
    if plan["mesh"]["tensor"] > 1:
        yield "`tensor` divides activations with an axis of heads, the FFN or the vocabulary"
    yield (
        f"disk holds each stage's last state, the newest {settings.checkpoint.keep} and one "
        "being written, uncompressed"
    )


def _remarks(contexts):
    """Remarks of the objectives on their FLOPs, without duplicates."""
    remarks = (
        stages.find(context.family, context.stage.task).remarks(context) for context in contexts
    )
    return dict.fromkeys(sentence for group in remarks for sentence in group)
