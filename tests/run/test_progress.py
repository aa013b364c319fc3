"""Tests of progress output: a bar on a terminal, plain lines elsewhere, at low cost."""

import io

import pytest

from bertgrow.core import units
from bertgrow.run import progress

STAGES = [
    {"name": "0", "start": 0, "end": 10, "flops_per_step": 1e9},
    {"name": "1", "start": 10, "end": 20, "flops_per_step": 3e9},
]
METRICS = {"loss": 4.3214, "tokens_per_second": 12_345.0}


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """A clock whose time the test sets."""

    now = 0.0

    def __call__(self):
        return self.now


def train(bar, clock, until=20, every=5, seconds=1.0):
    for step in range(1, until + 1):
        clock.now += seconds
        stage = "0" if step <= 10 else "1"
        bar.step(step, stage, METRICS if step % every == 0 else None)


def test_a_pipe_gets_one_line_an_interval_and_one_an_event():
    file, clock = io.StringIO(), Clock()

    with progress.reporter(STAGES, file=file, clock=clock) as bar:
        train(bar, clock)
        bar.event("saved step 20 [bold]")

    lines = file.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["5/20", "10/20", "15/20", "20/20", "step"]
    assert lines[0].startswith("step 5/20  stage 1/2  loss 4.321  12.3 ktok/s  1 GFLOP/s")
    assert lines[-1] == "saved step 20 [bold]"
    assert "\x1b" not in file.getvalue()


def test_lines_may_be_rarer_than_figures_but_the_last_is_shown():
    file, clock = io.StringIO(), Clock()

    with progress.reporter(STAGES, every=8, file=file, clock=clock) as bar:
        train(bar, clock)

    shown = [line.split()[1] for line in file.getvalue().splitlines()]
    assert shown == ["5/20", "15/20", "20/20"]


def test_time_left_knows_that_later_stages_cost_more():
    file, clock = io.StringIO(), Clock()

    with progress.reporter(STAGES, file=file, clock=clock) as bar:
        train(bar, clock, until=10)

    # 10 steps of 3 GFLOP at the 1 GFLOP/s bar so far.
    assert file.getvalue().splitlines()[-1].endswith("30 s left")


def test_compiling_a_stage_does_not_count_as_pace():
    file, clock = io.StringIO(), Clock()

    with progress.reporter(STAGES, file=file, clock=clock) as bar:
        train(bar, clock, until=10)
        clock.now += 600
        for step in (11, 12, 13):
            clock.now += 1
            bar.step(step, "1", METRICS)

    assert "3 GFLOP/s" in file.getvalue().splitlines()[-1]


def test_a_run_may_be_resumed_in_a_later_stage():
    file, clock = io.StringIO(), Clock()

    with progress.reporter(STAGES, file=file, clock=clock) as bar:
        bar.step(17, "1", METRICS)
        clock.now += 1
        bar.step(18, "1", METRICS)

    assert file.getvalue().splitlines()[-1].endswith("3 GFLOP/s  2.0 s left")


def test_a_terminal_gets_a_bar_with_events_above_it(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    file, clock = Terminal(), Clock()

    with progress.reporter(STAGES, file=file, clock=clock) as bar:
        train(bar, clock)
        bar.event("saved step 20 [bold]")

    shown = file.getvalue()
    assert "━" in shown and "20/20" in shown and "loss 4.321" in shown
    assert "saved step 20 [bold]\n" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor must come back"


@pytest.mark.parametrize("term, isatty", [("dumb", True), ("xterm", False)])
def test_a_bar_is_drawn_only_where_it_can_be(monkeypatch, term, isatty):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    file, clock = (Terminal() if isatty else io.StringIO()), Clock()

    with progress.reporter(STAGES, file=file, clock=clock) as bar:
        train(bar, clock)

    assert "\x1b" not in file.getvalue() and "step 20/20" in file.getvalue()


def test_a_bar_names_the_phase_and_its_stage_and_is_gone_at_the_end(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    file, clock = Terminal(), Clock()

    with progress.reporter(STAGES, file=file, clock=clock) as bar:
        for phase, stage, shown in [
            ("reading", None, "reading"),
            ("compiling", "0", "stage 1/2  compiling"),
            ("evaluating", "0", "stage 1/2  evaluating"),
            ("growing", "1", "stage 2/2  growing"),
        ]:
            bar.phase(phase, stage)
            assert file.getvalue().rstrip("\x1b[0m\r").endswith(shown)
        bar.step(11, "1", METRICS)

    assert file.getvalue().endswith("\x1b[1A\x1b[2K")  # up to the bar's line, which is cleared


def test_plain_lines_show_long_phases_only():
    file = io.StringIO()

    with progress.reporter(STAGES, file=file) as bar:
        bar.phase("reading")
        bar.phase("compiling", "1")
        bar.phase("saving", "1")

    assert file.getvalue() == "stage 2/2  compiling\n"


def test_errors_that_go_to_a_file_are_not_drawn_above_the_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    errors, terminal = io.StringIO(), Terminal()
    monkeypatch.setattr(progress.sys, "stderr", errors)

    with progress.reporter(STAGES, file=terminal):
        print("a warning", file=progress.sys.stderr)

    assert errors.getvalue() == "a warning\n" and "warning" not in terminal.getvalue()


def test_steps_between_looks_touch_neither_figures_nor_screen(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    file, clock = Terminal(), Clock()

    class Unread(dict):
        def get(self, *_):
            raise AssertionError("reading a metric waits for the device")

    with progress.reporter(STAGES, file=file, clock=clock) as bar:
        bar.step(1, "0")
        shown = file.getvalue()
        for step in range(2, 10):
            clock.now += progress.REDRAW / 100
            bar.step(step, "0", Unread(loss=1.0))
        assert file.getvalue() == shown


def test_other_processes_stay_silent(capfd):
    with progress.reporter(STAGES, style="none") as bar:
        train(bar, Clock())
        bar.event("saved")

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "value, text",
    [(0, "0 B"), (999.9, "1 kB"), (12_345, "12.3 kB"), (2e9, "2 GB"), (0.25, "0.25 B")],
)
def test_prefixes_keep_three_figures(value, text):
    assert units.si(value, "B") == text


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.04, "0.0 s"),
        (9.97, "10 s"),
        (59.6, "1 min 00 s"),
        (3661, "1 h 01 min"),
        (200_000, "2 d 07 h"),
        (float("nan"), "-"),
    ],
)
def test_durations_show_the_two_units_that_matter(seconds, text):
    assert units.duration(seconds) == text
