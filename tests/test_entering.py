"""Frozen weights are on the devices while something asks them, and no longer."""

from types import SimpleNamespace

import pytest

from bertgrow import contracts, entering, run


def session(asked, *, stays):
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
        frozen=contracts.Frozen(lambda mesh: (), load, at_steps=stays),
    )
    job = run.Job(
        None, (stage,), {}, rows=None, held_out=None, unigram=0, first=None, command=""
    )
    saves = SimpleNamespace(wait=lambda: None)
    return run.Session(job, None, None, saves, None, None, None)


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
