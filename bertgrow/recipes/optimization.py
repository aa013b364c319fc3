"""Optimizers and learning-rate schedules that a recipe can select, with their fields."""

from dataclasses import dataclass

from bertgrow.core.fields import option
from bertgrow.train.optimizers import AdamW, Lamb


def _peak():
    return option(1e-4, "largest learning rate", above=0)


def _warmup():
    return option(10_000, "warm-up of the first stage", unit="steps", minimum=0)


def _rewarmup(default):
    return option(default, "warm-up of every later stage", unit="steps", minimum=0)


@dataclass(frozen=True)
class Linear:
    """`peak (1 - s/S) min(1, (s - s_k)/w_k)`: one decay per run, one warm-up per stage."""

    name: str = option("linear", "the schedule", choices=("linear",))
    peak: float = _peak()
    warmup: int = _warmup()
    rewarmup: int = _rewarmup(10_000)


@dataclass(frozen=True)
class Published:
    """Restarts in each stage, as in the published code; see compoundgrow in docs/papers.md."""

    name: str = option("published", "the schedule", choices=("published",))
    peak: float = _peak()
    warmup: int = _warmup()
    rewarmup: int = _rewarmup(10_000)
    end: float = option(0.0, "learning rate after decay_steps", minimum=0)
    decay_steps: int = option(
        1_000_000, "steps of a stage in which the rate falls to end", unit="steps", minimum=1
    )


@dataclass(frozen=True)
class Wsd:
    """Warm-up, stable, decay over the whole run."""

    name: str = option("wsd", "the schedule", choices=("wsd",))
    peak: float = _peak()
    warmup: int = _warmup()
    rewarmup: int = _rewarmup(0)
    decay: float = option(
        0.2, "fraction of the steps, at the end, in which the rate falls", minimum=0, maximum=1
    )


OPTIMIZERS = {made.name: made for made in (AdamW, Lamb)}
SCHEDULES = {made.name: made for made in (Linear, Published, Wsd)}
CHOICES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
