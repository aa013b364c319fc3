"""Starts a stage: reads frozen weights, fills the teacher cache and grows the state.

The main functions take a `trainer.Session`. Uninterruptible work starts only after the last
checkpoint is complete.
"""

from bertgrow.core.errors import CheckFailed
from bertgrow.growth import certificate as certificates
from bertgrow.teacher_cache import cache, fill
from bertgrow.train import agreement, sharding


def prepare(session, index, state, is_to_enter):
    """Returns the session in which a stage trains, and the first state of the stage.

    Frozen weights stay in memory only if every step uses them. Otherwise they are read only to
    fill a cache or to enter the stage.
    """
    cached, frozen = session.job.caches.get(index), session.job.stages[index].frozen
    is_to_fill = agreement.from_first(lambda: bool(cached and cached.missing()))
    if cached and not is_to_fill:
        session.saves.wait()  # the digest may need the last state of the previous stage
        cache.check(cached, frozen.digest(session.saves))
    is_for_steps = frozen and frozen.at_steps and not cached
    is_for_entry = frozen and frozen.at_entry and is_to_enter
    loaded = session
    if is_for_steps or is_for_entry or is_to_fill:
        loaded = _with_frozen(session, index)
    if is_to_fill:
        _fill(loaded, index, cached)
    if is_to_enter:
        state = _enter(loaded, index, state)
    return loaded if is_for_steps else session, state


def _fill(session, index, cached):
    """Writes the missing files of a cache; complete files are kept, so a stop is safe."""
    stage, saves = session.job.stages[index], session.saves
    start = session.job.settings.stages[index].start
    position = saves.record(start)["position"] if index else None
    with session.stop.uninterruptible(saves.wait):
        fill.fill(
            cached, stage, session.job.rows(index), first_row(session, index, position),
            mesh=session.mesh, teacher=stage.frozen.digest(saves), say=session.reporter.event,
        )  # fmt: skip


def first_row(session, index, position):
    """Data position where a stage begins, if the previous stage ended at `position`."""
    job, stages = session.job, session.job.settings.stages
    if index and stages[index].length != stages[index - 1].length:
        return job.rows(index).next_block(position)
    return position or job.rows(index).start()


def _with_frozen(session, index):
    """Returns the session with the frozen weights of the stage loaded on the devices."""
    stage = session.job.stages[index]
    session.phase("reading", stage.name)
    session.saves.wait()  # they may be weights of the previous stage
    frozen = stage.frozen.load(session.saves, stage.frozen.shapes(session.mesh))
    stages = list(session.job.stages)
    stages[index] = stage._replace(task=stage.task._replace(frozen=frozen))
    return session._replace(job=session.job._replace(stages=tuple(stages)))


def _enter(session, index, state):
    """Makes the first state of a stage from the last state before it, usually by growth."""
    job = session.job
    stage = job.stages[index]
    if stage.enter is None:
        return state
    session.phase("growing" if index else "reading", stage.name)
    with session.stop.uninterruptible(session.saves.wait):
        shardings = sharding.state_shardings(stage.task, stage.optimizer, session.mesh)
        probe = _probe(job.held_out(max(index - 1, 0))[0], session.mesh)
        state, certificate = stage.enter(state, shardings, probe, stage.task.frozen)
    before = job.stages[index - 1].name if index else "start"
    name = f"{before}-{stage.name}"
    certificate = {"transition": name, "step": int(state.step)} | certificate
    session.log.grown(certificate)
    _check_claims(session, index, certificate)
    return state


def _probe(rows, mesh):
    """Puts the held-out sequences that a certificate uses on the devices.

    Args:
      rows: {name: NumPy array}, a whole batch.
      mesh: device mesh of the run.
    """
    devices = mesh.shape["data"] * mesh.shape["fsdp"]
    count = certificates.num_sequences(len(rows["tokens"]), devices)
    return sharding.put_whole({name: array[:count] for name, array in rows.items()}, mesh)


def _check_claims(session, index, certificate):
    """Stops the run or prints a warning if a growth claim is broken (`on_broken_claim`)."""
    name = certificate["transition"]
    for row in certificates.broken(certificate):
        scale, change = (
            "something not finite" if row[name] is None else f"{row[name]:.3g}"
            for name in ("logit_scale", "max_logit_change")
        )
        message = (
            f"growth {name}: {row['operator']} claims to be exact, and logits of up to "
            f"{scale} moved by {change}; see {session.workdir}/growth/{name}.json"
        )
        if session.job.settings.stages[index].grow.on_broken_claim == "stop":
            raise CheckFailed(message)
        session.reporter.event(message)
