"""Turns a resolved recipe and its stores into a `Job`: stages, data, first state, summary."""

import dataclasses
import functools
import importlib.metadata
import math
from pathlib import Path

import jax

from bertgrow import families, flops, objective, run, transition, workdir
from bertgrow.contracts import Stage
from bertgrow.data import pipeline, rows, store
from bertgrow.errors import InputError
from bertgrow.train import checkpoint, optimizers, schedule, sharding


def make(settings, stores, *, command=""):
    """Everything a run needs, from a resolved recipe and its opened stores.

    Raises:
      InputError: stages that cannot grow into one another, or a store without enough rows.
    """
    vocab, family = stores[0].vocab, families.find(settings.family)
    stages = make_stages(settings, family, vocab)
    mesh = sharding.make_mesh(dataclasses.asdict(settings.mesh))
    for stage in stages:
        sharding.check_batch(stage.batch, mesh, settings.accumulate)
    weights, kind = _weights(settings, stores), settings.data.rows

    def training_rows(index):
        length = settings.stages[index].length
        return rows.Stream(
            stores, weights=weights, length=length, kind=kind, seed=settings.seed
        )

    @functools.cache
    def held_out(index):
        stage = settings.stages[index]
        limit = math.ceil(settings.eval.rows / stage.batch)
        found = pipeline.held_out(
            stores[0], length=stage.length, rows=stage.batch, kind=kind, limit=limit
        )
        mine = rows.host_rows(stage.batch, jax.process_count(), jax.process_index())
        return [{name: array[mine] for name, array in batch.items()} for batch in found]

    for index in range(len(stages)):
        held_out(index)  # too small a split is an error now, before anything is written
    return run.Job(
        settings=settings,
        stages=stages,
        summary=summary(settings, family, stages, stores),
        rows=training_rows,
        held_out=held_out,
        unigram=store.unigram_cross_entropy(stores[0]),
        first=lambda state, where: _first(settings, state, where, stores[0]),
        command=command,
    )


def make_stages(settings, family, vocab):
    """The recipe as a tuple of `Stage`; checks every transition before anything runs."""
    stages, tasks, old = [], [], None
    for config in settings.stages:
        task = make_task(settings, family, vocab, config)
        operators = transition.growths(family, old, config) if old else ()
        optimizer = make_optimizer(settings, config, task.axes, operators)
        enter = old and _enter(family, old, config, tasks[-1], operators, optimizer)
        slots = settings.masking.slots(config.length)
        cost = flops.train_step_flops(
            config.model, config.length, slots, config.batch, family.flops
        )
        stages.append(
            Stage(
                config.name,
                task,
                config.steps,
                config.batch,
                config.length,
                optimizer,
                enter,
                cost,
            )
        )
        tasks.append(task)
        old = config
    return tuple(stages)


def make_task(settings, family, vocab, config):
    """What the stage `config` learns, as a `Task`."""
    return objective.masked_lm(
        family.network(config.model),
        vocab=vocab,
        rate=settings.masking.rate,
        slots=settings.masking.slots(config.length),
        whole_word=settings.masking.whole_word,
        next_sentence=config.model.next_sentence,
        seed=settings.seed,
    )


def _enter(family, old, new, task, operators, optimizer):
    transition.check(operators, new.grow)

    def enter(state, shardings, probe):
        certificate = transition.certify(
            family, operators, state.params, task.axes, old, new, task, probe
        )
        state, measured = transition.grow(
            state, operators, axes=task.axes, optimizer=optimizer,
            rules=new.grow, shardings=shardings,
        )  # fmt: skip
        return state, certificate | measured

    return enter


def make_optimizer(settings, stage, axes, operators=()):
    """The optimiser of one stage, its rate read from the run's step.

    Args:
      settings: RunConfig.
      stage: StageConfig.
      axes: axis names of the parameters.
      operators: of the growth into this stage; their new units may warm up on their own.
    """
    fields = {name: value for name, value in settings.optimizer.items() if name != "name"}
    fields["decay"] = fields.pop("weight_decay")
    make = dict(adamw=optimizers.adamw, lamb=optimizers.lamb)[settings.optimizer["name"]]
    by_axis = transition.rate_by_axis(operators, stage)
    frozen = transition.frozen_modules(stage.model, axes)
    rate = make_rate(settings, stage)
    return make(axes, rate, rate_by_axis=by_axis, frozen=frozen, **fields)


def make_rate(settings, stage):
    """The learning rate of one stage as a function of the run's step."""
    given = dict(settings.schedule)
    name = given.pop("name")
    rewarmup = given.pop("rewarmup")
    if stage.start:
        given["warmup"] = rewarmup
    if name == "published":
        return schedule.published(start=stage.start, **given)
    behind, at_the_end = settings.rewound(stage), settings.rewound(settings.stages[-1])
    given |= dict(total=settings.total_steps - at_the_end, start=stage.start - behind)
    if name == "linear":
        return schedule.rewind(schedule.default(**given), behind)
    decay_steps = round(given.pop("decay") * settings.total_steps)
    return schedule.rewind(schedule.wsd(decay_steps=decay_steps, **given), behind)


def summary(settings, family, stages, stores):
    """What config.json holds: the recipe, its stages as numbers, the store, the versions."""
    table = []
    for config, stage in zip(settings.stages, stages, strict=True):
        model = config.model
        shapes = jax.eval_shape(stage.task.init, jax.random.key(0))
        table.append(
            dict(
                name=config.name,
                start=config.start,
                end=config.end,
                batch=config.batch,
                length=config.length,
                layers=model.num_layers,
                width=model.width,
                heads=model.num_heads,
                ffn_width=family.sizes(model)["mlp"],
                pool=model.pool,
                parameters=sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)),
                flops_per_step=stage.flops,
            )  # fmt: skip
        )
    packages = ("bertgrow", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain")
    return dict(
        recipe=settings.recipe,
        stages=table,
        store=dict(
            hash="+".join(opened.hash for opened in stores),
            vocabulary=stores[0].meta["vocab"]["hash"],
            documents=sum(len(opened.train) for opened in stores),
            tokens=sum(int(opened.train.sizes.sum()) for opened in stores),
        ),
        versions={name: importlib.metadata.version(name) for name in packages},
    )


def _weights(settings, stores):
    given = [part for part in settings.data.weights.split(",") if part.strip()]
    try:
        weights = [float(part) for part in given] or [1.0] * len(stores)
    except ValueError as error:
        raise InputError(f"config.data.weights: {error}; expected numbers") from error
    if len(weights) != len(stores) or min(weights) <= 0:
        raise InputError(
            f"config.data.weights has {len(weights)} numbers for {len(stores)} stores; "
            "give one above 0 for each"
        )
    return weights


def _first(settings, state, shardings, opened):
    """The first state: random weights, or those of the run that `init_from` names."""
    if not settings.init_from:
        return state
    known = workdir.read(settings.init_from)
    theirs, ours = known["store"]["vocabulary"], opened.meta["vocab"]["hash"]
    if theirs != ours:
        raise InputError(
            f"config.init_from {settings.init_from} has vocabulary {theirs[:12]}, the store "
            f"has {ours[:12]}; use one for both"
        )
    with checkpoint.Checkpoints(Path(settings.init_from) / "checkpoints") as saves:
        step = saves.latest()
        if step is None:
            raise InputError(f"config.init_from {settings.init_from} holds no checkpoint")
        target = jax.tree.map(
            lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
            state.params, shardings.params,
        )  # fmt: skip
        return state._replace(params=saves.restore_params(step, target))
