"""Dev scores of fine-tuning runs: the main metric of the task, last and at its best epoch."""

import statistics
from typing import NamedTuple

from bertgrow.core import units

HEADER = ("arm", "step", "params", "task", "metric", "dev", "best", "epoch")
HEADER += ("tokens", "compute", "time")


class Score(NamedTuple):
    """Scores of one run, or their means over seeds; higher is better for all metrics."""

    metric: str
    last: float
    best: float
    epoch: float  # of the best
    deviation: float | None  # sample standard deviation of `last` over seeds
    seeds: int


def task_of(run):
    """Task of a fine-tuning run; None for any other."""
    return run.config.get("finetuning", {}).get("task")


def of_runs(runs):
    """The `Score` of the seeds of an arm; None if one is not evaluated."""
    scores = [_of_run(run) for run in runs]
    if None in scores:
        return None
    last = [score.last for score in scores]
    return Score(
        scores[0].metric,
        statistics.fmean(last),
        statistics.fmean(score.best for score in scores),
        statistics.fmean(score.epoch for score in scores),
        statistics.stdev(last) if len(last) > 1 else None,
        len(last),
    )


def metric_of(run):
    """Name of the metric by which runs of the task are compared; None if it is not known."""
    tuned = run.config.get("finetuning", {})
    return tuned.get("metric") or (run.results or {}).get("compare_by")


def rows_of(run):
    """Evaluations that have the main metric."""
    name = metric_of(run)
    return [row for row in run.rows if row.get("split") == "eval" and name in row]


def _of_run(run):
    name, rows = metric_of(run), rows_of(run)
    if not rows:
        return None
    best = max(rows, key=lambda row: row[name])
    steps = run.config["recipe"].get("eval", {}).get("every") or run.stages[-1]["end"]
    return Score(name, rows[-1][name], best[name], best["step"] / steps, None, 1)


def table(arms):
    """The summary of fine-tuning arms as strings: a header and one row per arm."""
    return HEADER, [
        [
            arm.name,
            f"{arm.step}/{arm.steps}",
            units.si(arm.parameters),
            arm.task,
            *_cells(arm.dev),
            units.si(arm.tokens),
            units.si(arm.flops, "FLOP"),
            units.duration(arm.seconds),
        ]
        for arm in arms
    ]


def row(run):
    """Name, step and scores of one run, as strings."""
    step = f"{run.last('step') or 0}/{run.stages[-1]['end']}"
    return [run.name, step, *_cells(of_runs([run]))]


def _cells(score):
    if score is None:
        return ["-"] * 4
    return [score.metric, in_words(score), f"{score.best:.4f}", f"{score.epoch:.3g}"]


def in_words(score):
    """`0.8521`, or of several seeds `0.8521 +- 0.0042`."""
    spread = "" if score.deviation is None else f" +- {score.deviation:.4f}"
    return f"{score.last:.4f}{spread}"


def difference(first, other):
    """How two arms differ, e.g. "accuracy 0.8521, 0.0118 above 0.8403"."""
    if first.task != other.task:
        return "another task, no conclusion"
    if first.dev is None or other.dev is None:
        return "not evaluated yet, no conclusion"
    change = other.dev.last - first.dev.last
    side = "below" if change < 0 else "above"
    return (
        f"{other.dev.metric} {in_words(other.dev)}, {abs(change):.4f} {side} "
        f"{in_words(first.dev)}{_seeds(first.dev, other.dev)}"
    )


def _seeds(*scores):
    counts = dict.fromkeys(str(score.seeds) for score in reversed(scores))
    return (
        "" if max(score.seeds for score in scores) == 1 else f" ({' and '.join(counts)} seeds)"
    )
