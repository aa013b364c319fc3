"""Makes the stages of a resolved recipe: task, optimizer and entry of each."""

import dataclasses
import functools

from bertgrow.core import flops
from bertgrow.core.errors import InputError
from bertgrow.core.types import Objective, Stage
from bertgrow.objectives import ligo, transition
from bertgrow.objectives import masked_lm as objective
from bertgrow.train import optimizers, schedules


def make(settings, family, vocab):
    """Makes the tuple of `Stage`s; checks every transition before training."""
    every = range(len(settings.stages))
    return tuple(make_one(settings, family, vocab, index) for index in every)


def make_one(settings, family, vocab, index):
    """Makes the `Stage` number `index`."""
    config, learns = settings.stages[index], find(family, settings.stages[index].task)
    learnt = task(settings, family, vocab, index)
    optimizer = learns.optimizer(family, settings, index, learnt.axes)
    return Stage(
        name=config.name,
        task=learnt,
        steps=config.steps,
        batch=config.batch,
        length=config.length,
        optimizer=optimizer,
        enter=learns.enter(family, settings, index, vocab, optimizer),
        flops=learns.flops(family, settings, index),
        frozen=learns.frozen(family, settings, index),
        targets=learns.targets(family, settings, index, vocab),
    )


def task(settings, family, vocab, index):
    """Makes the `Task` of stage number `index`; its `frozen` is still empty."""
    config, learns = settings.stages[index], find(family, settings.stages[index].task)
    learnt = learns.task(family, settings, index, vocab)
    if learns.enter is not grown_from_before:
        return learnt
    return transition.hide_new(learnt, _growths(family, settings, index), config)


def find(family, name):
    """Returns the `Objective` with the name `name` in recipes; InputError if unknown."""
    known = OBJECTIVES | family.objectives
    if name not in known:
        raise InputError(f"a stage's task is {name!r}; expected one of {', '.join(known)}")
    return known[name]


def make_optimizer(settings, index, axes, **told):
    """Makes the optimizer of one stage; its learning rate depends on the step of the run.

    Args:
      settings: RunConfig.
      index: index of the stage.
      axes: axis names of the parameters.
      told: options that are not in the recipe, such as `rate_by_axis`.
    """
    fields = dataclasses.asdict(settings.stages[index].optimizer)
    make = dict(adamw=optimizers.adamw, lamb=optimizers.lamb)[fields.pop("name")]
    fields["decay"] = fields.pop("weight_decay")
    return make(axes, make_rate(settings, index), **told, **fields)


def make_rate(settings, index):
    """Makes the learning rate of one stage as a function of the step of the run.

    A schedule counts the steps of its `course`. If a run has one course, that is the whole run.
    """
    stage, stages = settings.stages[index], course(settings.stages, index)
    begin, end, behind = stages[0].start, stages[-1].end, rewound(stages, stage)
    start, given = stage.start - begin, dataclasses.asdict(stage.schedule)
    name = given.pop("name")
    rewarmup = given.pop("rewarmup")
    if start:
        given["warmup"] = rewarmup
    if name == "published":
        return schedules.rewind(schedules.published(start=start, **given), begin)
    given |= dict(total=end - begin - rewound(stages, stages[-1]), start=start - behind)
    if name == "linear":
        return schedules.rewind(schedules.default(**given), begin + behind)
    cooling = round(given.pop("decay") * (end - begin))
    return schedules.rewind(schedules.wsd(decay_steps=cooling, **given), begin + behind)


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


def _masked_lm(family, settings, index, vocab):
    """Uses the masking of the stage in training and the masking of the run in evaluation.

    So held-out losses are comparable between stages and runs with different masking rates.
    """
    own = masked_lm(family, settings, index, vocab, settings.stages[index].masking)
    return own._replace(evaluate=held_out_masked_lm(family, settings, index, vocab).evaluate)


def held_out_masked_lm(family, settings, index, vocab):
    """Masked language modelling of a stage with `config.masking`, as for held-out sequences."""
    return masked_lm(family, settings, index, vocab, settings.masking)


def masked_lm(family, settings, index, vocab, masking):
    """Masked language modelling of a stage with `masking`, a `MaskingConfig`."""
    config = settings.stages[index]
    return objective.masked_lm(
        family.network(config.model),
        vocab=vocab,
        rate=masking.rate,
        slots=masking.slots(config.length),
        whole_word=masking.whole_word,
        next_sentence=config.model.next_sentence,
        seed=settings.seed,
    )


def grown_from_before(family, settings, index, vocab, optimizer):
    """`Objective.enter` by growth of the previous stage; the identity if sizes are equal."""
    if not index:
        return None
    if _merges(settings, index):
        return ligo.merged(family, settings, index, vocab, optimizer, plain=_masked_lm)
    operators = _growths(family, settings, index)
    old, new = settings.stages[index - 1], settings.stages[index]
    transition.check(operators, new.grow)
    hides = any(operator.masks for operator in operators)
    if hides and find(family, new.task).enter is not grown_from_before:
        raise InputError(
            f"growth: msg cannot hide what is new from the task {new.task!r} of stage "
            f"{new.name}; choose another operator"
        )
    before = task(settings, family, vocab, index - 1)

    def enter(state, shardings, probe, frozen):
        del frozen
        certificate = transition.certify(
            family, operators, state.params, before.axes, old, new, before, probe
        )
        state, measured = transition.grow(
            state, operators, axes=before.axes, optimizer=optimizer,
            rules=new.grow, shardings=shardings,
        )  # fmt: skip
        return state, certificate | measured

    return enter


def _with_rates_of_their_own(family, settings, index, axes):
    operators = _growths(family, settings, index)
    config = settings.stages[index]
    by_axis = transition.rate_by_axis(operators, config)
    frozen = transition.frozen_modules(config.model, axes)
    return make_optimizer(settings, index, axes, rate_by_axis=by_axis, frozen=frozen)


def _growths(family, settings, index):
    """Growth operators into a stage; empty for the first stage and for merged LiGO maps."""
    if not index or _merges(settings, index):
        return ()
    old, new = settings.stages[index - 1 : index + 1]
    return transition.growths(family, old, new, settings.seed)


def _masked_lm_flops(family, settings, index):
    config = settings.stages[index]
    slots = config.masking.slots(config.length)
    return flops.train_step_flops(
        config.model, config.length, slots, config.batch, family.flops
    )


def _small(family, settings, index):
    """Small weights from which a stage after `ligo` starts; None for other stages."""
    if not _merges(settings, index):
        return None
    return ligo.small(family, settings, index - 2)._replace(at_steps=False)


def _merges(settings, index):
    return index > 0 and settings.stages[index - 1].task == "ligo"


def _learned_flops(family, settings, index):
    step = _masked_lm_flops(family, settings, index)
    return ligo.flops(family, settings, index, step=step)


OBJECTIVES = {
    "masked_lm": Objective(
        _masked_lm, grown_from_before, _with_rates_of_their_own, _masked_lm_flops, _small
    ),
    "ligo": Objective(
        functools.partial(ligo.task, plain=_masked_lm),
        functools.partial(ligo.begin, plain=_masked_lm),
        lambda family, settings, index, axes: make_optimizer(settings, index, axes),
        _learned_flops,
        lambda family, settings, index: ligo.small(family, settings, index - 1),
        remarks=ligo.remarks,
    ),
}
