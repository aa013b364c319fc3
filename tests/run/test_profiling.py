"""Tests that a trace covers the steps of its window for any start and end of a run."""

import pytest

from bertgrow.core import errors
from bertgrow.run import profiling


@pytest.mark.parametrize(
    "text", ["", "50", "50:", "60:50", "0:3", "-1:3", "1.5:2", "a:b", "1:2:3"]
)
def test_a_window_that_is_none_is_refused_in_one_line(text):
    with pytest.raises(errors.InputError, match="expected FIRST:LAST") as refused:
        profiling.window(text)

    assert "\n" not in str(refused.value)


def test_a_window_after_the_end_of_the_run_is_refused():
    with pytest.raises(errors.InputError, match="last step of the run, 40"):
        profiling.check(profiling.window("41:50"), end=40)


@pytest.mark.parametrize(
    "window, begin, end, calls",
    [
        ("3:5", 0, 9, ["begin 3", "end 5"]),
        ("3:5", 3, 9, ["begin 4", "end 5"]),  # continued inside the window
        ("3:50", 0, 4, ["begin 3", "end 4"]),  # the run ends first
        ("1:1", 0, 2, ["begin 1", "end 1"]),
        ("3:5", 5, 9, []),  # continued after it
    ],
)
def test_a_trace_holds_the_steps_of_its_window(
    monkeypatch, tmp_path, window, begin, end, calls
):
    step, done, said = begin, [], []
    (tmp_path / "plugins/profile/2026").mkdir(parents=True)
    profiler = profiling.jax.profiler
    monkeypatch.setattr(profiler, "start_trace", lambda _: done.append(f"begin {step + 1}"))
    monkeypatch.setattr(profiler, "stop_trace", lambda: done.append(f"end {step}"))

    with profiling.Trace(profiling.window(window), tmp_path, said.append) as trace:
        trace.after(step)
        for step in range(begin + 1, end + 1):  # noqa: B007 - read by the profiler above
            trace.after(step)

    assert done == calls
    if not calls:
        assert said == ["no trace: none of the steps 3 to 5 was trained"]
    else:
        first, last = (call.split()[1] for call in calls)
        path = tmp_path / "plugins/profile/2026"
        assert said == [f"trace of steps {first} to {last}: {path}"]
