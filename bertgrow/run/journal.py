"""Writes metrics and growth certificates of a run; counts tokens, FLOPs and seconds."""

import json
import time
from typing import Any, NamedTuple

import jax

from bertgrow.core import system_files
from bertgrow.run import files, goodput
from bertgrow.run import workdir as workdirs
from bertgrow.train import agreement, metrics

AHEAD = 2  # steps in flight on the devices before the loop waits for the oldest


class Step(NamedTuple):
    """A step whose metrics are still on the devices."""

    step: int
    metrics: Any  # {name: array}
    position: dict  # of the data stream after the step


class Journal:
    """Writes metrics.jsonl and growth/*.json, and counts tokens, FLOPs and seconds.

    Metrics stay on the devices until a line is due (after `every` steps) or until `flush`.
    One transfer then fetches the metrics of all steps since the last transfer. A line is
    written when its step has ended, while the next `AHEAD` steps run. So the devices never
    wait for the host.

    Args:
      workdir: working directory of the run.
      stages: list `stages` of config.json.
      reporter: progress reporter, see `progress.reporter`.
      every: steps between two lines of training metrics.

    With several processes only the first writes files.
    """

    def __init__(self, workdir, stages, reporter, *, every):
        self.workdir, self.stages, self.reporter, self.every = workdir, stages, reporter, every
        self.path = workdir / "metrics.jsonl"
        self.writer = None  # in the first process: opened by `begin`
        self.position, self.tokens, self.seconds = None, 0, 0.0
        self.certificates = []
        self._index, self._saved, self._evaluated = 0, None, set()
        self._pending = []  # Steps, oldest first
        self._shown = 0  # last step passed to the progress reporter
        self._mark = time.monotonic()
        self.clock = goodput.Clock()

    def begin(self, step, record=None, changes=()):
        """Continues from the step and record of a checkpoint; removes the lines of later steps.

        Args:
          step: int, 0 at the beginning of a run.
          record: output of `record` that is stored in that checkpoint.
          changes: recipe fields changed so far, see `workdir.settle_changes`.
        """
        record = record or {}
        self._index, self._shown = record.get("stage", 0), step
        for name in ("position", "tokens", "seconds", "certificates"):
            setattr(self, name, record.get(name, getattr(self, name)))
        self._saved = step or None
        opened = agreement.from_first(lambda: self._open(step, record, changes))
        self._evaluated = {(step, stage) for step, stage in opened["evaluated"]}
        self.clock.continue_from(opened["spent"], opened["lost"])

    def _open(self, step, record, changes):
        """Opens the files of the run.

        Returns:
          `evaluated`: [step, stage] of all evaluations; `spent`: {phase: seconds} until the
          checkpoint; `lost`: seconds of the steps after it.
        """
        if record.get("metrics"):
            metrics.check_unchanged(self.path, record["metrics"], step)
        last = max((row["seconds"] for row in metrics.read(self.path, files.Row)), default=0.0)
        metrics.cut(self.path, step)
        self.writer = metrics.Writer(self.path, tensorboard=self.workdir / "tensorboard")
        rows = metrics.read(self.path, files.Row)
        self._write_changes(changes, rows)
        for certificate in self.certificates:
            self._write_certificate(certificate)
        return dict(
            evaluated=[[row["step"], row["stage"]] for row in rows if row["split"] == "eval"],
            spent=goodput.spent(rows),
            lost=max(0.0, last - self.seconds),
        )

    def _write_changes(self, changes, rows):
        """Writes one line for each change that is not in the file yet."""
        for change in changes:
            if change not in ({name: row.get(name) for name in change} for row in rows):
                self._write(change["step"], metrics.CHANGE, change)
                self.reporter.event(workdirs.change_in_words(change))

    def record(self):
        """State of the journal to store in a checkpoint, as plain data."""
        return dict(
            position=self.position, tokens=self.tokens, seconds=self.seconds,
            certificates=self.certificates,
            metrics=self.writer.digest() if self.writer else None,
        )  # fmt: skip

    def stage(self, index):
        """Starts a stage: later steps belong to it, and its clock starts."""
        self._index = index
        self.mark()

    def mark(self):
        """Excludes the time since the last step (compiling, evaluating) from training time."""
        self._mark = time.monotonic()

    def sync(self):
        """Writes all lines to disk, safe against a power cut; called before a save.

        The last line has the seconds of each phase so far.
        """
        self.flush()
        if self.writer:
            self._write(self._shown, metrics.TIME, self.clock.seconds())
            self.writer.sync()

    def saved(self, step):
        self._saved = step
        self.mark()

    def take(self, info):
        """Adds a step in flight; waits until the step `AHEAD` steps before it has ended."""
        self._pending.append(Step(info.step, info.metrics, info.position))
        if len(self._pending) <= AHEAD:
            return
        ended = self._pending[-1 - AHEAD]
        jax.block_until_ready(ended.metrics)
        if self._is_line(ended.step):
            self._read(len(self._pending) - AHEAD)
        else:
            self._show(ended.step)

    def flush(self):
        """Reads the metrics of all steps so far. Raises CheckFailed if a loss is not finite."""
        self._read(len(self._pending))

    def _read(self, count):
        """Reads the oldest `count` pending steps in one transfer; writes the lines due."""
        steps, self._pending = self._pending[:count], self._pending[count:]
        if not steps:
            return
        metrics_of_steps = jax.device_get([step.metrics for step in steps])
        now = time.monotonic()
        seconds, self._mark = now - self._mark, now
        tokens_per_second = sum(map(_tokens, metrics_of_steps)) / max(seconds, 1e-9)
        for step, values in zip(steps, metrics_of_steps, strict=True):
            values = {name: float(value) for name, value in values.items()}
            self._count(step, values, seconds / len(steps))
            del values["tokens"]
            values |= dict(tokens_per_second=tokens_per_second)
            if self._is_line(step.step):
                self._write(step.step, "train", values)
            self._show(step.step, values if self._is_line(step.step) else None)

    def _count(self, step, values, seconds):
        metrics.check_finite(
            values, step=step.step, position=step.position,
            rows=self.stages[self._index]["batch"], checkpoint=self._saved,
        )  # fmt: skip
        self.position = step.position
        self.tokens += int(values["tokens"])
        self.seconds += seconds

    def _is_line(self, step):
        return step % self.every == 0 or step in (1, self.stages[self._index]["end"])

    def _show(self, step, metrics=None):
        if metrics or step > self._shown:
            self._shown = step
            self.reporter.step(step, self._name, metrics)

    @property
    def _name(self):
        return self.stages[self._index]["name"]

    def has_evaluated(self, step):
        """Whether this stage is already evaluated at this step, perhaps before a restart."""
        return (step, self._name) in self._evaluated

    def evaluated(self, step, scores):
        scores = {name: value for name, value in scores.items() if value is not None}
        self._evaluated.add((step, self._name))
        self._write(step, "eval", scores | dict(length=self.stages[self._index]["length"]))
        self.reporter.event(f"step {step}: held-out {_in_words(scores)}")
        self.mark()

    def sampled(self, step, samples):
        """Writes `samples.of_evaluation` of an evaluation."""
        self._write(step, metrics.SAMPLES, dict(samples=samples))

    def grown(self, certificate):
        self.certificates.append(certificate)
        self._write_certificate(certificate)
        rows = "; ".join(row["changed"] for row in certificate["rows"]) or "nothing changes"
        self.reporter.event(f"transition {certificate['transition']}: {rows}")
        self.mark()

    def completed(self, certificate):
        """Replaces the last certificate by a version with more measurements."""
        self.certificates = [*self.certificates[:-1], certificate]
        self._write_certificate(certificate)
        self.mark()

    def _flops(self, step):
        return sum(
            row["flops_per_step"] * max(0, min(step, row["end"]) - row["start"])
            for row in self.stages
        )

    def _write(self, step, split, values):
        if self.writer is None:
            return
        row = dict(step=step, stage=self._name, split=split)
        counters = dict(tokens=self.tokens, flops=self._flops(step), seconds=self.seconds)
        self.writer.write(row | values | counters)

    def _write_certificate(self, certificate):
        if self.writer is None:
            return
        path = self.workdir / "growth" / f"{certificate['transition']}.json"
        system_files.write_atomically(path, json.dumps(certificate, indent=2) + "\n")

    def close(self):
        if self.writer:
            self.writer.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _in_words(scores):
    """`mask_loss 4.337, mlm_loss 4.1 (1.31 nat below unigram)`; all metrics of other tasks."""
    if "mask_loss" not in scores:
        return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
    gain = scores["unigram"] - scores["mask_loss"]
    side = "below" if gain > 0 else "above"
    return (
        f"mask_loss {scores['mask_loss']:.3f}, mlm_loss {scores['mlm_loss']:.3f} "
        f"({abs(gain):.2f} nat {side} unigram)"
    )


def _tokens(metrics):
    return int(metrics["tokens"])
