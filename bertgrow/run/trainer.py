"""Runs the stages of a job in order: enters, trains, evaluates and saves each of them.

After a step the metrics are written first, then the evaluation runs, then the checkpoint is
saved. So a checkpoint is never ahead of the metrics, and a restart cuts the metrics at its
checkpoint. At a stage boundary only the state before growth is saved. Growth is a pure function
of that state, so a restart repeats it.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from bertgrow.core import signals, units
from bertgrow.core.errors import InputError
from bertgrow.core.types import Stage
from bertgrow.data.sequences import pipeline
from bertgrow.growth import certificate as certificates
from bertgrow.recipes.schema import RunConfig
from bertgrow.run import (
    beginning,
    files,
    goodput,
    journal,
    profiling,
    progress,
    samples,
    stage_entry,
    workdir,
)
from bertgrow.teacher_cache import cache
from bertgrow.train import agreement, environment, evaluation, loop, shapes, sharding
from bertgrow.train.checkpoints import checkpoint, disk

TIES_AFTER = 100  # steps between growth and the second count of tied replicas


class Job(NamedTuple):
    """Inputs of a run: settings, stages, data and initial state."""

    settings: RunConfig
    stages: tuple[Stage, ...]
    summary: dict  # contents of config.json
    rows: Callable  # stage index -> stream of training sequences
    held_out: Callable  # stage index -> list of held-out batches, whole in every process
    unigram: float | None  # cross-entropy (nat) of the held-out split under token frequencies
    first: Callable  # (random initial state, shardings) -> first state, e.g. of `init_from`
    command: str  # shell command that continues the run
    tokenizer: Any = None  # of the stores, copied into the working directory
    caches: dict = {}  # {stage index: `cache.Cache`} of stages with cached teacher outputs
    devices: Any = None  # list of `jax.Device`; None: all
    name: str = ""  # of one of several runs at the same time, for the lines of progress
    # Stage index -> a training batch of each length; None: all have that of held-out batches.
    examples: Callable | None = None


class Session(NamedTuple):
    """Open resources of one process during a run."""

    job: Job
    workdir: Path
    mesh: Any
    saves: checkpoint.Checkpoints
    stop: signals.StopRequest
    log: journal.Journal
    reporter: Any  # progress reporter
    agreement: Any = None  # `agreement.Agreement`
    trace: profiling.Trace = None

    def phase(self, name, stage=None):
        """Begins a phase, see `progress.reporter`."""
        self.log.clock.phase(name)
        self.reporter.phase(name, stage)


def run(job, path, *, stop=None, profile=None):
    """Trains a job in its working directory until its last stage ends, see `steps`."""
    for _ in steps(job, path, stop=stop, profile=profile):
        pass


def steps(job, path, *, stop=None, profile=None):
    """Trains a job in its working directory, and yields a `StepInfo` after each step.

    A run that has begun continues from its last checkpoint. Whoever stops the loop early loses
    the steps after that.

    Args:
      job: `Job`.
      path: working directory, see `workdir.open_for`.
      stop: entered `StopRequest`; by default the run creates one.
      profile: `profiling.Window` of steps to trace; None for no trace.

    Raises:
      Stopped: a signal arrived or the time limit passed; a checkpoint is saved.
      CheckFailed: the loss is not finite, or a growth claim is broken.
      InputError: the disk is full, or the working directory belongs to another run.
    """
    with _session(job, path, stop, profile) as session:
        session.reporter.phase("reading")
        cache.check_all(job.caches, job.stages, session.saves, session.reporter.event)
        first, state, is_new = beginning.begin(session)
        for index in range(first, len(job.stages)):
            stage_session, state = stage_entry.prepare(
                session, index, state, index > first or is_new
            )
            state = yield from _train(stage_session, index, state)
        session.saves.wait()
        agreement.wait_for_all()  # JAX gives up soon at the end if one takes longer
        session.reporter.event(goodput.in_words(session.log.clock.seconds()))
        session.reporter.event(f"finished at step {int(state.step)}: {path}")


@contextlib.contextmanager
def _session(job, path, stop, profile):
    settings = job.settings
    ends = [stage.end for stage in settings.stages]
    is_first = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        stop = stop or stack.enter_context(signals.StopRequest(resume=job.command))

        def on_complete(seconds):
            workdir.mark_saved(path)
            stop.reserve(seconds)

        saves = stack.enter_context(
            checkpoint.Checkpoints(
                path / "checkpoints",
                stage_ends=ends,
                keep=settings.checkpoint.keep,
                record_type=files.Record,
                on_complete=on_complete,
            )  # fmt: skip
        )
        style = "auto" if is_first else "none"
        rows = job.summary["stages"]
        reporter = stack.enter_context(progress.reporter(rows, style=style, name=job.name))
        stack.enter_context(stop.calls_at_exit(reporter.close))
        log = stack.enter_context(
            journal.Journal(path, rows, reporter, every=settings.log_every)
        )
        profile = profile if is_first else None
        trace = stack.enter_context(profiling.Trace(profile, path / "profile", reporter.event))
        mesh = sharding.make_mesh(dataclasses.asdict(settings.mesh), job.devices)
        states = [loop.state_shapes(stage.task, stage.optimizer, mesh) for stage in job.stages]
        _check_memory(max(map(disk.state_bytes, states)))
        disk.check_disk(saves.path, disk.bytes_needed(states, settings.checkpoint.keep))
        yield Session(job, path, mesh, saves, stop, log, reporter, agreement.Agreement(), trace)


def _check_memory(needed):
    """Raises InputError if a state surely does not fit: the system would end the process."""
    available = environment.memory()
    if needed > available:
        raise InputError(
            f"parameters and optimizer state need {units.si(needed, 'B')}, and the devices "
            f"have {units.si(available, 'B')}: lower config.model, or give more devices; "
            "`bertgrow plan` estimates the memory of each stage"
        )


def _train(session, index, state):
    """Trains one stage to its end, yields each `StepInfo`; returns the last state."""
    log, stage = session.log, session.job.stages[index]
    step, until = int(state.step), session.job.settings.stages[index].end
    log.stage(index)
    if step == until and not _is_evaluation_due(session, index, step):
        return state
    compiled, evaluate = _compile(session, index, state)
    log.mark()
    if _evaluate_if_due(session, index, step, evaluate, state):
        _leave(session)  # before any further step, so that a restart repeats the evaluation
    session.agreement.begin(step)
    session.trace.after(step)
    session.phase("reading", stage.name)
    with _batches(session, index, step) as batches:
        run_stage = loop.steps(
            stage.task, state, session.log.clock.inputs(batches), stage.optimizer,
            until=until, mesh=session.mesh, step=compiled,
        )  # fmt: skip
        for info in run_stage:
            state = info.state
            session.phase("training", stage.name)
            log.take(info)
            _after_step(session, index, info, evaluate)
            session.trace.after(info.step, info.metrics)
            yield info
    return state


def _batches(session, index, step):
    """Batches of this process from the data position; a new length starts at a new block."""
    job, position = session.job, session.log.position
    if step == job.settings.stages[index].start:
        position = stage_entry.first_row(session, index, position)
    cached = job.caches.get(index)
    batch = job.stages[index].batch
    return pipeline.batches(
        job.rows(index), batch=batch, position=position,
        rows=sharding.process_rows(batch, session.mesh),
        workers=job.settings.data.workers, extra=cached and cached.entries(),
    )  # fmt: skip


def _after_step(session, index, info, evaluate):
    every = session.job.settings.checkpoint.every
    is_end = info.step == session.job.settings.stages[index].end
    is_stopped = _evaluate_if_due(session, index, info.step, evaluate, info.state)
    _count_ties_if_due(session, index, info)
    if not is_stopped:
        code = session.stop.code
        is_stopped = session.agreement.stops(info.step, code, info.metrics)
    if is_end or is_stopped or info.step % every == 0:
        _save(session, index, info)
    if is_stopped:
        _leave(session)


def _leave(session):
    """Ends the run in all processes once all is saved."""
    session.saves.wait()
    agreement.wait_for_all()  # the first process writes checksums after the others are done
    raise session.stop.stopped(session.agreement.reason)


def _count_ties_if_due(session, index, info):
    """Counts the replicas still tied `TIES_AFTER` steps after growth, for the certificate."""
    stage = session.job.settings.stages[index]
    if index and info.step == min(stage.start + TIES_AFTER, stage.end):
        session.log.flush()
        certificate, axes = session.log.certificates[-1], session.job.stages[index].task.axes
        completed = certificates.later(certificate, info.state.params, axes, info.step)
        session.log.completed(completed)


def _save(session, index, info):
    session.phase("saving", session.job.stages[index].name)
    session.log.sync()  # raises if the loss is not finite, so such a state is never saved
    record = session.log.record() | dict(stage=index)
    record["environment"] = environment.describe(session.mesh)
    session.saves.save(info.step, info.state, record)
    session.log.saved(info.step)


def _compile(session, index, state):
    """Compiles the training step and the evaluation; runs after a checkpoint is complete."""
    job, stage, mesh = session.job, session.job.stages[index], session.mesh
    session.phase("compiling", stage.name)
    held_out, cached = shapes.distinct(job.held_out(index)), job.caches.get(index)
    examples = job.examples(index) if job.examples else held_out
    if cached:
        examples = [batch | cached.zeros(len(batch["tokens"])) for batch in examples]
    slices = dict(accumulate=job.settings.accumulate)

    def compile_step(batch):
        batch = sharding.put_whole(batch, mesh)
        return loop.compile_step(stage.task, stage.optimizer, state, batch, mesh, **slices)

    def compile_evaluation(batch):
        batch = sharding.put_whole(batch, mesh)
        return evaluation.compile_evaluation(stage.task, state.params, batch, mesh, **slices)

    with session.stop.uninterruptible(session.saves.wait):
        evaluate = shapes.ByShape(compile_evaluation, held_out)
        return shapes.ByShape(compile_step, examples), evaluate


def _evaluate_if_due(session, index, step, evaluate, state):
    """Evaluates on held-out sequences; returns whether all processes stop.

    A stop cancels the evaluation, and the restart repeats it.
    """
    if not _is_evaluation_due(session, index, step):
        return False
    session.log.flush()
    stage = session.job.stages[index]
    session.phase("evaluating", stage.name)
    session.agreement.begin(0)  # it counts batches here
    scores = evaluation.evaluate(
        stage.task, state.params, session.job.held_out(index), step=step, mesh=session.mesh,
        compiled=evaluate,
        stop=lambda number: session.agreement.stops(number, session.stop.code),
    )  # fmt: skip
    session.agreement.begin(step)
    if scores is None:
        return True
    filled = scores.pop("filled", None)
    session.log.evaluated(step, scores | dict(unigram=session.job.unigram))
    if filled is not None and session.job.tokenizer:
        session.log.sampled(step, samples.of_evaluation(filled, session.job.tokenizer))
    return False


def _is_evaluation_due(session, index, step):
    """Whether to evaluate: each `eval.every` steps, and at both ends of a stage (growth)."""
    settings, stage = session.job.settings, session.job.settings.stages[index]
    is_due = step % settings.eval.every == 0 or step in (stage.start, stage.end)
    return step > 0 and is_due and not session.log.has_evaluated(step)
