"""Goodput: the share of a run's time in training steps, and what the rest was spent on."""

import time

from bertgrow.core import units
from bertgrow.train import metrics

STEPS = "steps"
PHASES = (  # in the order of a report
    STEPS, "input", "compiling", "growing", "evaluating", "saving", "starting", "lost",
)  # fmt: skip
NAMES = {"training": STEPS, "reading": "input"}  # phases of `progress` with another name


class Clock:
    """Counts the seconds of each of `PHASES`, over all starts of a run.

    `input` is the wait for the next batch and reading frozen weights; `saving` is the wait for
    a checkpoint, not the writing beside the steps. `lost` are the seconds of steps that were
    trained again after a kill.

    Args:
      clock: function that returns seconds.
    """

    def __init__(self, clock=time.monotonic):
        self._clock, self._phase, self._mark = clock, "starting", clock()
        self._seconds = dict.fromkeys(PHASES, 0.0)

    def continue_from(self, seconds, lost=0.0):
        """Adds the seconds of earlier starts.

        Args:
          seconds: {phase: seconds} of `seconds` at the checkpoint; {} at the beginning.
          lost: seconds of the steps after that checkpoint.
        """
        for phase, value in {**seconds, "lost": seconds.get("lost", 0.0) + lost}.items():
            self._seconds[phase] += value

    def phase(self, name):
        """Ends the current phase and begins another, one of `progress.reporter`."""
        now = self._clock()
        self._seconds[self._phase] += now - self._mark
        self._phase, self._mark = NAMES.get(name, name), now

    def inputs(self, batches):
        """Yields from an iterator; the waits count as `input`."""
        while True:
            begin = self._clock()
            try:
                item = next(batches)
            except StopIteration:
                return
            waited = self._clock() - begin
            self._seconds["input"] += waited
            self._mark += waited
            yield item

    def seconds(self):
        """{phase: seconds} until now."""
        self.phase(self._phase)
        return dict(self._seconds)


def spent(rows):
    """{phase: seconds} of the newest row of `metrics.TIME`; {} without one."""
    newest = next((row for row in reversed(rows) if row["split"] == metrics.TIME), {})
    return {phase: newest[phase] for phase in PHASES if phase in newest}


def in_words(seconds):
    """`12 min 30 s: 81 % in steps, 12 % compiling, 7 % evaluating`; phases of 1 % and more."""
    total = sum(seconds.values())
    shares = {phase: value / total for phase, value in seconds.items() if total}
    steps = f"{shares.pop(STEPS, 0):.0%} in steps"
    others = sorted(shares.items(), key=lambda share: -share[1])
    parts = [f"{share:.0%} {phase}" for phase, share in others if share >= 0.01]
    return f"{units.duration(total)}: {', '.join([steps, *parts])}"
