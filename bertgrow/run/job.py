"""Builds a `Job` from a resolved recipe and its stores."""

import dataclasses
import functools
import importlib.metadata
import math
from pathlib import Path

import jax

from bertgrow.core import keys
from bertgrow.core.errors import InputError
from bertgrow.data.corpus import store
from bertgrow.data.sequences import pipeline, streams
from bertgrow.interop import conversion
from bertgrow.models import families, task_heads
from bertgrow.objectives import stages
from bertgrow.recipes import token_stores
from bertgrow.run import trainer, weights, workdir
from bertgrow.teacher_cache import cache
from bertgrow.train import sharding
from bertgrow.train.checkpoints import checkpoint


def make(settings, stores, *, command="", cached_in=None):
    """Builds the `Job` of a run: stages, data, initial state and summary.

    Args:
      settings: RunConfig.
      stores: list of opened `Store`s.
      command: shell command that continues the run.
      cached_in: folder of the teacher cache (`bertgrow.teacher_cache`); None without one.

    Raises:
      InputError: a stage cannot grow into the next, or a store has too few sequences.
    """
    vocab, family = stores[0].vocab, families.find(settings.family)
    run_stages = stages.make(settings, family, vocab)
    mesh = sharding.make_mesh(dataclasses.asdict(settings.mesh))
    for stage in run_stages:
        sharding.check_batch(stage.batch, mesh, settings.accumulate)
    store_weights, kind = token_stores.weights(settings, stores), settings.data.rows

    def training_rows(index):
        length = settings.stages[index].length
        return streams.Stream(
            stores, weights=store_weights, length=length, kind=kind, seed=settings.seed,
            epochs=settings.data.mask_epochs,
        )  # fmt: skip

    @functools.cache
    def held_out(index):
        stage = settings.stages[index]
        limit = math.ceil(settings.eval.rows / stage.batch)
        return pipeline.held_out(
            stores[0], length=stage.length, batch=stage.batch, kind=kind, limit=limit
        )

    for index, stage in enumerate(run_stages):  # too little text: before any file is written
        held_out(index)
        pipeline.check_enough(training_rows(index), stage.batch)
    caches = {}
    if cached_in is not None:
        caches = cache.of_run(cached_in, settings, stores, run_stages, training_rows)
        run_stages = tuple(
            stage._replace(task=stage.targets.task) if index in caches else stage
            for index, stage in enumerate(run_stages)
        )
    return trainer.Job(
        settings=settings,
        stages=run_stages,
        caches=caches,
        summary=summary(settings, family, run_stages, stores),
        rows=training_rows,
        held_out=held_out,
        unigram=store.unigram_cross_entropy(stores[0]),
        first=lambda state, shardings: _first(settings, state, shardings, stores[0]),
        command=command,
        tokenizer=stores[0].tokenizer,
    )


def summary(settings, family, run_stages, stores):
    """Contents of config.json: recipe, stage sizes, store, teacher checkpoints, versions."""
    pairs = zip(settings.stages, run_stages, strict=True)
    table = [stage_row(family, config, flops=stage.flops) for config, stage in pairs]
    frozen = [stage.frozen for stage in run_stages if stage.frozen]
    pinned = {
        folder: checkpoint
        for source in frozen
        for folder, checkpoint in (source.pinned or {}).items()
    }
    return dict(
        recipe=settings.recipe,
        stages=table,
        store=dict(
            hash="+".join(opened.hash for opened in stores),
            vocabulary=stores[0].meta["vocab"]["hash"],
            documents=sum(len(opened.train) for opened in stores),
            tokens=sum(int(opened.train.sizes.sum()) for opened in stores),
        ),
        tokenizer=weights.entry(stores[0].tokenizer),
        pinned=pinned,
        numerics=keys.VERSION,
        versions=versions(),
    )


def stage_row(family, config, *, flops):
    """A row of `stages` in config.json; `config` is a `StageConfig`."""
    return dict(
        name=config.name,
        task=config.task,
        start=config.start,
        end=config.end,
        batch=config.batch,
        length=config.length,
        **families.shape(family, config.model),
        parameters=sum(families.parameters(family, config.model).values()),
        flops_per_step=flops,
    )


def versions():
    """{package: version} of the packages that determine the figures of a run."""
    packages = ("bertgrow", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain")
    return {name: importlib.metadata.version(name) for name in packages}


def _first(settings, state, shardings, opened):
    """Initial state: random weights, or the weights of the run in `config.init_from`."""
    if not settings.init_from:
        return state
    workdir.check_vocabulary(settings.init_from, opened.vocab, "config.init_from")
    with checkpoint.Checkpoints(Path(settings.init_from) / "checkpoints") as saves:
        step = saves.latest()
        if step is None:
            raise InputError(f"config.init_from {settings.init_from} holds no checkpoint")
        target = jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
            state.params, shardings.params,
        )  # fmt: skip
        params = saves.restore_params(step, target, ignore=(*conversion.HEADS, task_heads.NAME))
        return state._replace(params=params)
