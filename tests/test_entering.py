"""Frozen weights are on the devices while something asks them, and no longer."""

from types import SimpleNamespace

import pytest

from bertgrow import cache, contracts, entering, progress, run
from bertgrow.errors import InputError


def session(asked, *, stays=True, at_entry=True, cached=None):
    """A run of one stage with frozen weights; reading them is noted in `asked`."""

    def load(saves, shapes):
        asked.append("read")
        return "weights"

    stage = contracts.Stage(
        name="0",
        task=contracts.Task(*(None,) * 5),
        steps=1,
        batch=1,
        length=1,
        optimizer=None,
        enter=None,
        flops=0.0,
        frozen=contracts.Frozen(lambda mesh: (), load, at_entry=at_entry, at_steps=stays),
    )
    job = run.Job(
        None, (stage,), {}, rows=None, held_out=None, unigram=0, first=None, command="",
        caches={0: cached} if cached else {},
    )  # fmt: skip
    saves = SimpleNamespace(wait=lambda: None)
    return run.Session(job, None, None, saves, None, None, progress.Silent())


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

    here, _ = entering.prepare(session(asked, stays=stays), 0, None, is_to_enter)

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
    monkeypatch.setattr(entering, "_fill", lambda *given: asked.append("filled"))
    before = session(asked, at_entry=at_entry, cached=cached)

    here, _ = entering.prepare(before, 0, None, is_to_enter)

    assert asked == noted
    assert here.job.stages[0].task.frozen == ()


def test_a_complete_cache_of_another_teacher_is_refused_as_the_stage_begins(monkeypatch):
    def refuse(cached, teacher):
        raise InputError("made for another")

    monkeypatch.setattr(cache, "check", refuse)
    before = session([], cached=SimpleNamespace(missing=lambda: []))

    with pytest.raises(InputError, match="made for another"):
        entering.prepare(before, 0, None, True)
