"""Begins a run, or restores it from its newest intact checkpoint."""

import jax

from bertgrow.core.errors import InputError
from bertgrow.run import workdir
from bertgrow.train import agreement, environment, loop, sharding


def begin(session):
    """Restores the newest valid checkpoint, or makes the initial state.

    Args:
      session: `trainer.Session`.

    Returns:
      (index of the stage, state, whether the stage must still be entered).
    """
    step = session.saves.latest(session.reporter.event)
    changes = agreement.from_first(lambda: workdir.settle_changes(session.workdir, step or 0))
    if step is None:
        agreement.from_first(lambda: _check_saved_nothing(session))
        return _first(session, changes)
    job, record = session.job, session.saves.record(step)
    index = record["stage"]
    stage = job.stages[index]
    target = loop.state_shapes(stage.task, stage.optimizer, session.mesh)
    state, record = session.saves.restore(step, target)
    session.log.begin(step, record, changes)
    session.reporter.event(f"restored step {step}, stage {stage.name}")
    current = environment.describe(session.mesh)
    for change in environment.differences(record["environment"], current):
        session.reporter.event(f"no longer equal to the bit, only to float tolerance: {change}")
    return index, state, False


def _first(session, changes):
    job = session.job
    task, optimizer = job.stages[0].task, job.stages[0].optimizer
    shardings = sharding.state_shardings(task, optimizer, session.mesh)
    key = jax.random.key(job.settings.seed)
    session.log.begin(0, changes=changes)
    state = job.first(loop.initial_state(task, optimizer, key, shardings), shardings)
    return 0, state, True


def _check_saved_nothing(session):
    """Raises InputError if the run has completed a checkpoint before, which is gone now."""
    if not workdir.read(session.workdir).get("saved"):
        return
    damaged = session.saves.damaged.items()
    states = "; ".join(f"checkpoint {step}: {reason}" for step, reason in damaged)
    raise InputError(
        f"--workdir {session.workdir} has no usable checkpoint, and has saved one before "
        f"({states or 'its folder checkpoints is empty or missing'}): restore one from a copy, "
        f"or {workdir.RESTART}"
    )
