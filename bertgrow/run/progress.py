"""Shows training progress: a bar on a terminal, plain lines everywhere else.

with progress.reporter(stages) as bar:
    for info in steps(...):
        bar.step(info.step, "0", metrics)  # metrics only on steps where they are read
        bar.event("saved step 500")
"""

import collections
import contextlib
import os
import sys
import time
from typing import NamedTuple

import rich.console
import rich.progress

from bertgrow.core import units

REDRAW = 0.2  # seconds between two updates of the bar
LONG = ("compiling", "growing")  # phases that plain lines show; the others end with an event
WINDOW = 50  # updates over which FLOP/s are averaged


class Figures(NamedTuple):
    """Figures of the bar and the lines. Progress is in FLOPs: later stages cost more."""

    stage: str  # "stage 2/4"
    step: int
    steps: int
    loss: float | None
    tokens_per_second: float | None
    pace: float | None  # model FLOP/s in wall-clock time, pauses included
    done: float  # FLOPs
    total: float


@contextlib.contextmanager
def reporter(stages, *, style="auto", every=1, name="", file=None, clock=time.monotonic):
    """Shows the progress of a run; yields an object with `step`, `event`, `phase`, `close`.

    `step(step, stage, metrics=None)` may be called after every step: it takes microseconds.
    `metrics` has `loss` and `tokens_per_second` as numbers, on steps where they are read.
    `event(text)` prints a message about an evaluation, growth, a save or a restore.
    `phase(name, stage=None)` sets the current phase: reading, compiling, growing, training,
    evaluating or saving. `close()` removes the bar and may be called from any thread.

    Args:
      stages: list `stages` of config.json, with name, start, end and flops_per_step.
      style: "bar", "lines", "none" (processes other than the first), or "auto": a bar where
        `file` is a terminal, lines in notebooks, logs and pipes.
      every: minimum number of steps between two plain lines.
      name: of one of several runs at the same time, which begins all its lines.
      file: output stream; standard output by default.
      clock: function that returns seconds; tests replace it.
    """
    file = file or sys.stdout
    if style == "auto":
        style = "bar" if not name and is_terminal(file) else "lines"
    meter = Meter(stages, clock)
    if style == "none":
        yield Silent()
    elif style == "lines":
        yield Lines(meter, file, every, name)
    elif style == "bar":
        with Bar(meter, file) as bar:
            yield bar
    else:
        raise ValueError(f"style is {style!r}; known: auto, bar, lines, none")


def is_terminal(file):
    # The test of rich is not used: FORCE_COLOR makes it true for files, where a bar is noise.
    return file.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


class Silent:
    def step(self, step, stage, metrics=None):
        pass

    def event(self, text):
        pass

    def phase(self, name, stage=None):
        pass

    def close(self):
        pass


class Lines(Silent):
    """Prints one line per reading of the metrics and one line per event."""

    def __init__(self, meter, file, every, name=""):
        self.meter, self.file, self.every = meter, file, every
        self.begin = f"{name}: " if name else ""
        self.shown = None

    def step(self, step, stage, metrics=None):
        self.meter.note(step, stage)
        if not metrics:
            return
        is_last = step >= self.meter.steps
        if self.shown is None or step - self.shown >= self.every or is_last:
            self.shown = step
            figures = self.meter.figures(step, stage, metrics)
            self.event(f"step {figures.step}/{figures.steps}  {in_words(figures)}")

    def event(self, text):
        print(f"{self.begin}{text}\n", end="", file=self.file, flush=True)  # in one write

    def phase(self, name, stage=None):
        if name in LONG:
            self.event(f"{self.meter.place(stage)}  {name}")


class Bar:
    """Live bar with events above it; the bar is removed at the end."""

    def __init__(self, meter, file):
        self.meter = meter
        self.console = rich.console.Console(file=file, force_terminal=True)
        self.progress = rich.progress.Progress(
            rich.progress.TextColumn("{task.fields[place]}"),
            rich.progress.BarColumn(bar_width=None),
            rich.progress.TextColumn("{task.fields[figures]}"),
            console=self.console,
            expand=True,
            refresh_per_second=1 / REDRAW,
            transient=True,
            redirect_stderr=is_terminal(sys.stderr),  # a stderr file is not redirected
        )
        self.metrics, self.phase_name, self.stage = {}, "starting", None

    def __enter__(self):
        self.task = self.progress.add_task("", total=None, place="", figures=self.phase_name)
        self.progress.start()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.progress.stop()

    def phase(self, name, stage=None):
        if (name, stage) == (self.phase_name, self.stage):
            return
        if stage != self.stage:
            self.metrics = {}  # drops the loss of the previous stage
        self.phase_name, self.stage = name, stage
        if name == "training" and self.metrics:
            return  # the next step shows its figures
        parts = [self.meter.place(stage), name] if stage else [name]
        self.progress.update(self.task, figures="  ".join(parts), refresh=True)

    def step(self, step, stage, metrics=None):
        self.metrics = metrics or self.metrics
        if not self.meter.note(step, stage):
            return
        figures = self.meter.figures(step, stage, self.metrics)
        self.progress.update(
            self.task,
            completed=figures.done,
            total=figures.total,
            place=f"{figures.step}/{figures.steps}",
            figures=in_words(figures),
        )

    def event(self, text):
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Meter:
    """Computes FLOPs done and FLOP/s from steps; samples the clock every `REDRAW` seconds."""

    def __init__(self, stages, clock):
        self.clock = clock
        self.places = {stage["name"]: i for i, stage in enumerate(stages)}
        self.stages = stages
        self.steps = stages[-1]["end"]
        self.total = self.done(stages[-1]["end"])
        self.samples = collections.deque(maxlen=WINDOW)
        self.stage = None

    def note(self, step, stage):
        """Whether a sample was taken: every `REDRAW` seconds, and at both ends of a stage."""
        now = self.clock()
        is_end = step >= self.stages[self.places[stage]]["end"]
        if stage != self.stage:
            self.samples.clear()  # a stage has its own FLOP/s, without its compilation
            self.stage = stage
        elif not is_end and now - self.samples[-1][0] < REDRAW:
            return False
        self.samples.append((now, self.done(step)))
        return True

    def place(self, stage):
        """`stage 2/4`"""
        return f"stage {self.places[stage] + 1}/{len(self.stages)}"

    def figures(self, step, stage, metrics):
        (start, done_before), (end, done) = self.samples[0], self.samples[-1]
        return Figures(
            stage=self.place(stage),
            step=step,
            steps=self.steps,
            loss=metrics.get("loss"),
            tokens_per_second=metrics.get("tokens_per_second"),
            pace=(done - done_before) / (end - start) if end > start else None,
            done=self.done(step),
            total=self.total,
        )

    def done(self, step):
        """FLOPs of the first `step` steps of the run."""
        return sum(
            s["flops_per_step"] * max(0, min(step, s["end"]) - s["start"]) for s in self.stages
        )


def in_words(figures):
    """`stage 2/4  loss 4.321  12.3 ktok/s  1.2 GFLOP/s  12 min 30 s left`"""
    parts = [figures.stage]
    if figures.loss is not None:
        parts.append(f"loss {figures.loss:.3f}")
    if figures.tokens_per_second:
        parts.append(units.si(figures.tokens_per_second, "tok/s"))
    if figures.pace:
        parts.append(units.si(figures.pace, "FLOP/s"))
        seconds_left = (figures.total - figures.done) / figures.pace
        parts.append(f"{units.duration(seconds_left)} left")
    return "  ".join(parts)
