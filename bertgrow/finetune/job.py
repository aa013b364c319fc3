"""Makes the `Job` of a fine-tuning run: one stage of the training loop."""

import dataclasses
import hashlib
from typing import NamedTuple

import jax

from bertgrow.core import flops, keys
from bertgrow.core.errors import InputError
from bertgrow.core.types import Stage
from bertgrow.finetune import adamw, buckets, sequences, stream, tasks, teachers
from bertgrow.interop import conversion
from bertgrow.models import families, task_heads
from bertgrow.recipes import build, resolve
from bertgrow.run import imported, job, trainer, weights
from bertgrow.train import sharding

WARMUP = 0.1  # fraction of the steps
CLIP, WEIGHT_DECAY = 1.0, 0.01
CHECKPOINT_EVERY = 500  # steps


class Settings(NamedTuple):
    """Options of a fine-tuning run, see `bertgrow finetune --help`."""

    learning_rate: float
    batch: int
    epochs: float
    length: int  # tokens of a sequence at most
    seed: int
    log_every: int


def make(
    problem, pretrained, settings, *, teacher=None, command="", devices=None, name=""
):  # fmt: skip
    """Makes the `trainer.Job`.

    Args:
      problem: `Problem`.
      pretrained: `interop.pretrained.Pretrained`, the model to start from.
      settings: `Settings`.
      teacher: `teachers.Teacher` that gives soft labels; None: the true labels alone.
      command: shell command that continues the run.
      devices, name: as in `trainer.Job`.

    Raises:
      InputError: there are fewer examples than a batch, or the model or the teacher does not
        fit the task.
    """
    family = families.find(pretrained.family)
    run = _resolved(problem, pretrained, family, settings)
    config, mesh = run.stages[0], sharding.make_mesh(devices=devices)
    sharding.check_batch(config.batch, mesh, 1)
    network = task_heads.HEADS[problem.head](
        family.network(config.model), width=config.model.width, outputs=problem.outputs
    )
    if teacher:
        teachers.check(teacher, problem, pretrained, config.length)
    task = tasks.make(
        network, problem.losses, _score(problem), length=config.length, teacher=teacher
    )
    optimizer = adamw.make(
        config.optimizer, network.axes, config.schedule, steps=config.steps,
        frozen=_unused(problem, network),
    )  # fmt: skip
    shuffled, plan = stream.planned(
        problem.train, buckets.lengths(_sets(problem), config.length), steps=config.steps,
        batch=config.batch, pad_id=config.model.pad_id, seed=settings.seed,
    )  # fmt: skip
    dev = sequences.batches(
        next(iter(problem.dev.values())), batch=config.batch, lengths=shuffled.lengths,
        pad_id=config.model.pad_id,
    )  # fmt: skip
    stage = Stage(
        config.name, task, config.steps, config.batch, config.length, optimizer, None,
        _flops(config, family, teacher, plan), frozen=teacher and teacher.frozen(),
    )  # fmt: skip
    return trainer.Job(
        settings=run,
        stages=(stage,),
        summary=_summary(problem, pretrained, run, stage, family, plan, teacher),
        rows=lambda index: shuffled,
        held_out=lambda index: dev,
        examples=lambda index: list(plan.firsts.values()),
        unigram=None,
        first=lambda state, shardings: _first(state, shardings, pretrained),
        command=command,
        tokenizer=pretrained.tokenizer,
        devices=devices,
        name=name,
    )


def _unused(problem, network):
    """Heads of pre-training that the task does not use; their weights stay as they are."""
    used = ("pooler",) if problem.head == "classifier" else ()
    return [name for name in conversion.HEADS if name in network.axes and name not in used]


def _resolved(problem, pretrained, family, settings):
    """The `RunConfig` of the run: linear decay after a warm-up, AdamW, one stage."""
    model = pretrained.config
    if problem.head == "spans" and getattr(model, "pool", 1) > 1:
        raise InputError(
            f"{pretrained.source} pools its tokens, and --task {problem.name} needs every "
            "token: give a stage with pool 1"
        )
    if len(problem.train) < settings.batch:
        raise InputError(
            f"--data has {len(problem.train)} training sequences, fewer than --batch "
            f"{settings.batch}; lower --batch"
        )
    if getattr(model, "frozen_layers", 0):
        model = dataclasses.replace(model, frozen_layers=0)
    recipe = imported.recipe_of(pretrained._replace(config=model), family)
    per_epoch = len(problem.train) // settings.batch
    steps = max(1, round(settings.epochs * len(problem.train) / settings.batch))
    recipe.update(
        seed=settings.seed, batch=settings.batch, log_every=settings.log_every,
        length=buckets.lengths(_sets(problem), settings.length)[-1],
    )  # fmt: skip
    recipe.optimizer = build.adamw(clip=CLIP, weight_decay=WEIGHT_DECAY)
    recipe.schedule = build.linear(
        peak=settings.learning_rate, warmup=round(WARMUP * steps), rewarmup=0
    )
    recipe.eval.every, recipe.checkpoint.every = max(1, per_epoch), CHECKPOINT_EVERY
    recipe.stages = build.stages(dict(steps=steps))
    run = resolve.resolve(recipe, vocab=_vocab(pretrained))
    named = dataclasses.replace(run.stages[0], task=problem.name)
    return dataclasses.replace(run, stages=(named,))


def _flops(config, family, teacher, plan):
    """FLOPs of a step, as mean over the batches of the run."""

    def of_batch(length):
        student = flops.train_step_flops(config.model, length, 0, config.batch, family.flops)
        return student + (config.batch * teacher.flops(length) if teacher else 0)

    total = sum(count * of_batch(length) for length, count in plan.batches.items())
    return total / config.steps


def _sets(problem):
    return [problem.train, *problem.dev.values(), *problem.test.values()]


def _vocab(pretrained):
    return pretrained.tokenizer.vocab._replace(hash=pretrained.tokenizer.hash)


def _score(problem):
    """`Task.score`: the metrics of the first labelled set."""
    first = next(iter(problem.dev))
    return lambda values: problem.score(first, values)


def digest(problem):
    """sha256 of the training and the labelled sequences."""
    sets = [problem.train, *problem.dev.values()]
    return hashlib.sha256("".join(part.digest() for part in sets).encode()).hexdigest()


def _summary(problem, pretrained, run, stage, family, plan, teacher):
    """Contents of config.json."""
    return dict(
        recipe=run.recipe,
        stages=[job.stage_row(family, run.stages[0], flops=stage.flops)],
        store=dict(
            hash=digest(problem),
            vocabulary=pretrained.tokenizer.hash,
            documents=len(problem.train),
            tokens=len(problem.train.tokens),
        ),
        tokenizer=weights.entry(pretrained.tokenizer),
        finetuning=dict(
            task=problem.name, source=pretrained.source, step=pretrained.step,
            classes=problem.classes, head=problem.head, outputs=problem.outputs,
            metric=problem.metric, batches=plan.describe(),
            **({"teacher": teacher.describe()} if teacher else {}),
        ),
        fresh=list(pretrained.fresh),
        numerics=keys.VERSION,
        versions=job.versions(),
    )  # fmt: skip


def _first(state, shardings, pretrained):
    """The pre-trained weights, and the random ones of the new head."""
    body = {name: place for name, place in shardings.params.items() if name != task_heads.NAME}
    arrays = jax.device_get(pretrained.params)  # of a device of this process alone
    params = jax.device_put(arrays, body)
    return state._replace(params=params | {task_heads.NAME: state.params[task_heads.NAME]})
