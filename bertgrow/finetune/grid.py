"""Settings of a search: every combination of the values of `--grid`, with several seeds."""

import itertools
import math
import statistics
from typing import NamedTuple

from bertgrow.core.errors import InputError
from bertgrow.core.fields import nearest
from bertgrow.finetune.job import Settings

KINDS = {"learning_rate": float, "batch": int, "epochs": float}
PRESETS = {
    # Devlin et al. (2019), appendix A.3, and Sun et al. (2020), section 4.4.
    "bert": {"learning_rate": (2e-5, 3e-5, 5e-5), "batch": (16, 32), "epochs": (2.0, 3.0, 4.0)},
    "mobilebert": {
        "learning_rate": tuple(n * 1e-5 for n in range(1, 11)),
        "batch": (16, 32, 48),
        "epochs": tuple(map(float, range(2, 11))),
    },
}
LARGEST = 10_000  # runs


class Row(NamedTuple):
    """One setting: the scores of its seeds, by the metric of the task."""

    setting: dict
    scores: list

    @property
    def mean(self):
        return statistics.fmean(self.scores)

    @property
    def deviation(self):
        """Sample standard deviation; None with one seed."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None


def parse(words):
    """Reads the words of `--grid`, e.g. ["learning_rate=1e-5,3e-5", "seeds=5"].

    A word without "=" is the name of a preset; words behind it replace its values.

    Returns:
      ({name: values}, number of seeds).

    Raises:
      InputError: a name or a value is wrong.
    """
    values, seeds = {}, 1
    for word in words:
        name, is_given, text = word.partition("=")
        if not is_given:
            if name not in PRESETS:
                raise InputError(
                    f"--grid {word}: expected NAME=VALUES, or {' or '.join(PRESETS)}"
                )
            values |= PRESETS[name]
        elif name == "seeds":
            (seeds,) = _numbers(word, text, int, most=1)
        elif name in KINDS:
            values[name] = tuple(_numbers(word, text, KINDS[name]))
        else:
            raise InputError(f"--grid {word}: {nearest(name, [*KINDS, 'seeds'])}")
    count = math.prod(map(len, values.values())) * seeds
    if count > LARGEST:
        raise InputError(f"--grid has {count:,} runs; expected at most {LARGEST:,}")
    return values, seeds


def settings(base, values, seeds):
    """Yields (setting as {name: value}, `Settings` of one run), seed after seed.

    Runs with the same batch follow each other: they share compiled programs.

    Args:
      base: `Settings` of everything that is not searched.
      values, seeds: from `parse`.
    """
    names = sorted(values, key=lambda name: name != "batch")
    for chosen in itertools.product(*(values[name] for name in names)):
        setting = dict(zip(names, chosen, strict=True))
        for seed in range(base.seed, base.seed + seeds):
            yield setting, base._replace(**setting, seed=seed)


def folder(run: Settings):
    """Name of the folder of a run."""
    return (
        f"learning_rate={run.learning_rate:g},batch={run.batch},epochs={run.epochs:g},"
        f"seed={run.seed}"
    )


def rows(scored):
    """One `Row` for each setting, the best mean first.

    Args:
      scored: list of (setting, score).
    """
    scores_by_setting = {}
    for setting, score in scored:
        scores_by_setting.setdefault(tuple(setting.items()), []).append(score)
    averaged = [Row(dict(setting), scores) for setting, scores in scores_by_setting.items()]
    return sorted(averaged, key=lambda row: -row.mean)


def _numbers(word, text, kind, most=None):
    try:
        numbers = [kind(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if not all(0 < number < 2**31 for number in numbers) or (most or math.inf) < len(numbers):
        what = "one number" if most else "numbers"
        raise InputError(f"--grid {word}: expected {what} above 0, e.g. batch=16,32 or seeds=5")
    return numbers
