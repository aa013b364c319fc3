"""Makes the stages of a resolved recipe: task, optimizer and entry of each."""

import dataclasses
import functools

from bertgrow.core import flops
from bertgrow.core.errors import InputError
from bertgrow.core.types import Objective, Stage, StageContext
from bertgrow.objectives import ligo, transition
from bertgrow.objectives import masked_lm as masked_lm_task
from bertgrow.train import optimizers, schedules


def make(settings, family, vocab):
    """Makes the tuple of `Stage`s; checks every transition before training."""
    indices = range(len(settings.stages))
    return tuple(make_one(StageContext(family, settings, index, vocab)) for index in indices)


def make_one(context):
    """Makes the `Stage` of a `StageContext`."""
    config, objective = context.stage, find(context.family, context.stage.task)
    stage_task = task(context)
    optimizer = objective.optimizer(context, stage_task.axes)
    return Stage(
        name=config.name,
        task=stage_task,
        steps=config.steps,
        batch=config.batch,
        length=config.length,
        optimizer=optimizer,
        enter=objective.enter(context, optimizer),
        flops=objective.flops(context),
        frozen=objective.frozen(context),
        targets=objective.targets(context),
    )


def task(context):
    """Makes the `Task` of a stage; its `frozen` is still empty."""
    objective = find(context.family, context.stage.task)
    stage_task = objective.task(context)
    if objective.enter is not grown_from_before:
        return stage_task
    return transition.mask_new(stage_task, _growths(context), context.stage)


def find(family, name):
    """Returns the `Objective` with the name `name` in recipes; InputError if unknown."""
    known = OBJECTIVES | family.objectives
    if name not in known:
        raise InputError(f"a stage's task is {name!r}; expected one of {', '.join(known)}")
    return known[name]


def make_optimizer(context, axes, **options):
    """Makes the optimizer of one stage; its learning rate depends on the step of the run.

    Args:
      context: `StageContext`.
      axes: axis names of the parameters.
      options: arguments of `optimizers.make` that are not in the recipe.
    """
    schedule = learning_rate(context.settings.stages, context.index)
    return optimizers.make(context.stage.optimizer, axes, schedule, **options)


def learning_rate(stages, index):
    """Makes the learning rate of one stage as a function of the step of the run.

    A schedule counts the steps of its `course`. If a run has one course, that is the whole run.

    Args:
      stages: every `StageConfig` of the run.
      index: index of the stage.
    """
    stage, stages = stages[index], course(stages, index)
    begin, end, behind = stages[0].start, stages[-1].end, rewound(stages, stage)
    start, options = stage.start - begin, dataclasses.asdict(stage.schedule)
    name = options.pop("name")
    rewarmup = options.pop("rewarmup")
    if start:
        options["warmup"] = rewarmup
    if name == "published":
        return schedules.rewind(schedules.published(start=start, **options), begin)
    options |= dict(total=end - begin - rewound(stages, stages[-1]), start=start - behind)
    if name == "linear":
        return schedules.rewind(schedules.default(**options), begin + behind)
    cooling = round(options.pop("decay") * (end - begin))
    return schedules.rewind(schedules.wsd(decay_steps=cooling, **options), begin + behind)


def course(stages, index):
    """Consecutive stages with the task and schedule of stage `index`, itself included."""
    kinds = [(stage.task, stage.schedule) for stage in stages]
    first = last = index
    while first > 0 and kinds[first - 1] == kinds[index]:
        first -= 1
    while last + 1 < len(stages) and kinds[last + 1] == kinds[index]:
        last += 1
    return stages[first : last + 1]


def rewound(stages, stage):
    """Steps by which `grow.rewind` has set the schedule back in a stage of a course."""
    return sum(each.grow.rewind for each in stages[1:] if each.start <= stage.start)


def masked_lm(context):
    """Uses the masking of the stage in training and the masking of the run in evaluation.

    So held-out losses are comparable between stages and runs with different masking rates.
    """
    trained = _masked_lm(context, context.stage.masking)
    return trained._replace(evaluate=held_out_masked_lm(context).evaluate)


def held_out_masked_lm(context):
    """Masked language modelling of a stage with `config.masking`, as for held-out sequences."""
    return _masked_lm(context, context.settings.masking)


def _masked_lm(context, masking):
    """Masked language modelling of a stage with `masking`, a `MaskingConfig`."""
    config = context.stage
    return masked_lm_task.masked_lm(
        context.family.network(config.model),
        vocab=context.vocab,
        rate=masking.rate,
        max_predictions=masking.num_predictions(config.length),
        whole_word=masking.whole_word,
        next_sentence=config.model.next_sentence,
        seed=context.settings.seed,
    )


def grown_from_before(context, optimizer):
    """`Objective.enter` by growth of the previous stage; the identity if sizes are equal."""
    old, new = context.previous, context.stage
    if old is None:
        return None
    if _merges(context):
        return ligo.merged(context, optimizer, plain=masked_lm)
    operators = _growths(context)
    transition.check(operators, new.grow)
    has_masks = any(operator.masks for operator in operators)
    if has_masks and find(context.family, new.task).enter is not grown_from_before:
        raise InputError(
            f"growth: msg cannot mask new parts in the task {new.task!r} of stage "
            f"{new.name}; choose another operator"
        )
    before = task(context.at(context.index - 1))

    def enter(state, shardings, probe, frozen):
        del frozen
        certificate = transition.certify(
            context.family, operators, state.params, before.axes, old, new, before, probe
        )
        state, measured = transition.grow(
            state, operators, axes=before.axes, optimizer=optimizer,
            rules=new.grow, shardings=shardings,
        )  # fmt: skip
        return state, certificate | measured

    return enter


def _optimizer_of_growth(context, axes):
    """Optimizer with the learning-rate factors of new units and of frozen layers."""
    factors = transition.factors_by_axis(_growths(context), context.stage)
    frozen = transition.frozen_modules(context.stage.model, axes)
    return make_optimizer(context, axes, factors_by_axis=factors, frozen=frozen)


def _growths(context):
    """Growth operators into a stage; empty for the first stage and for merged LiGO maps."""
    if context.previous is None or _merges(context):
        return ()
    return transition.growths(
        context.family, context.previous, context.stage, context.settings.seed
    )


def _masked_lm_flops(context):
    config = context.stage
    max_predictions = config.masking.num_predictions(config.length)
    return flops.train_step_flops(
        config.model, config.length, max_predictions, config.batch, context.family.flops
    )


def _small_before_merge(context):
    """Small weights from which a stage after `ligo` starts; None for other stages."""
    if not _merges(context):
        return None
    return ligo.small(context.at(context.index - 2))._replace(at_steps=False)


def _merges(context):
    return context.previous is not None and context.previous.task == "ligo"


OBJECTIVES = {
    "masked_lm": Objective(
        masked_lm,
        grown_from_before,
        _optimizer_of_growth,
        _masked_lm_flops,
        _small_before_merge,
    ),
    "ligo": Objective(
        functools.partial(ligo.task, plain=masked_lm),
        functools.partial(ligo.begin, plain=masked_lm),
        make_optimizer,
        lambda context: ligo.flops(context, step=_masked_lm_flops(context)),
        lambda context: ligo.small(context.at(context.index - 1)),
        remarks=ligo.remarks,
    ),
}
