"""Tests that frozen weights are on the devices only while they are in use."""

import contextlib
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest

from bertgrow.core import types
from bertgrow.core.errors import InputError
from bertgrow.run import goodput, progress, stage_entry, trainer
from bertgrow.teacher_cache import cache
from bertgrow.train import sharding

SGD = optax.sgd(0.1)


def session(asked, *, stays=True, at_entry=True, cached=None):
    """A run of one stage with frozen weights; reading them is noted in `asked`."""

    def load(saves, shapes):
        asked.append("read")
        return "weights"

    stage = types.Stage(
        name="0",
        task=types.Task(*(None,) * 5),
        steps=1,
        batch=1,
        length=1,
        optimizer=None,
        enter=None,
        flops=0.0,
        frozen=types.Frozen(lambda mesh: (), load, at_entry=at_entry, at_steps=stays),
    )
    job = trainer.Job(
        None, (stage,), {}, rows=None, held_out=None, unigram=0, first=None, command="",
        caches={0: cached} if cached else {},
    )  # fmt: skip
    saves = SimpleNamespace(wait=lambda: None)
    log = SimpleNamespace(clock=goodput.Clock())
    return trainer.Session(job, None, None, saves, None, log, progress.Silent())


@pytest.mark.parametrize(
    "stays, is_to_enter, kept, reads",
    [
        (True, True, "weights", 1),
        (True, False, "weights", 1),  # after a restart in the middle of the stage
        (False, True, (), 1),
        (False, False, (), 0),
    ],
)
def test_weights_that_the_beginning_alone_asks_are_not_kept(stays, is_to_enter, kept, reads):
    asked = []

    here, _ = stage_entry.prepare(session(asked, stays=stays), 0, None, is_to_enter)

    assert here.job.stages[0].task.frozen == kept
    assert len(asked) == reads


@pytest.mark.parametrize(
    "at_entry, is_to_enter, missing, noted",
    [
        (True, True, [], ["checked", "read"]),
        (False, True, [], ["checked"]),
        (True, False, [], ["checked"]),  # after a restart in the middle of the stage
        (False, True, ["a part"], ["read", "filled"]),
        (False, False, ["a part"], ["read", "filled"]),
    ],
)
def test_a_cache_spares_the_weights_that_it_is_complete_without(
    monkeypatch, at_entry, is_to_enter, missing, noted
):
    asked, cached = [], SimpleNamespace(missing=lambda: missing)
    monkeypatch.setattr(cache, "check", lambda *given: asked.append("checked"))
    monkeypatch.setattr(stage_entry, "_fill", lambda *given: asked.append("filled"))
    before = session(asked, at_entry=at_entry, cached=cached)

    here, _ = stage_entry.prepare(before, 0, None, is_to_enter)

    assert asked == noted
    assert here.job.stages[0].task.frozen == ()


def test_a_complete_cache_of_another_teacher_is_refused_as_the_stage_begins(monkeypatch):
    def refuse(cached, teacher):
        raise InputError("made for another")

    monkeypatch.setattr(cache, "check", refuse)
    before = session([], cached=SimpleNamespace(missing=lambda: []))

    with pytest.raises(InputError, match="made for another"):
        stage_entry.prepare(before, 0, None, True)


@pytest.mark.parametrize("rows", [64, 8])
def test_a_certificate_is_measured_on_at_most_sixteen_held_out_rows(rows):
    asked, probes = session([]), []

    def enter(state, shardings, probe, frozen):
        probes.append(probe)
        return state, {"rows": []}

    stage = asked.job.stages[0]
    axes = types.Task(lambda key: {}, None, None, None, {})
    stage = stage._replace(enter=enter, task=axes, optimizer=SGD)
    held_out = [{"tokens": np.zeros((rows, 4), np.int32)}]
    before = asked._replace(
        job=asked.job._replace(stages=(stage,), held_out=lambda index: held_out),
        mesh=sharding.make_mesh(devices=jax.devices()[:1]),
        stop=SimpleNamespace(uninterruptible=lambda _: contextlib.nullcontext()),
        log=SimpleNamespace(clock=asked.log.clock, grown=lambda certificate: None),
    )

    stage_entry.prepare(before, 0, SimpleNamespace(step=0), True)

    assert probes[0]["tokens"].shape == (min(rows, 16), 4)
