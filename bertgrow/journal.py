"""What a run leaves to be read: metrics one step late, certificates, and the counters."""

import json
import time

from bertgrow.train import checksums, divergence, metrics


class Journal:
    """Writes metrics.jsonl and growth/*.json, and counts tokens, FLOPs and seconds.

    Metrics of a step are read when the next one is already under way, so that the devices
    never wait for a reader; `flush` reads the last at once.

    Args:
      workdir: of the run.
      stages: the rows of config.json's `stages`.
      seen: the progress reporter.
      every: steps between two lines of training metrics.
      write: false in all processes but the first.
    """

    def __init__(self, workdir, stages, seen, *, every, write=True):
        self.workdir, self.stages, self.seen, self.every = workdir, stages, seen, every
        self.path = workdir / "metrics.jsonl"
        self.writer = None
        self._writes = write
        self.position, self.tokens, self.seconds = None, 0, 0.0
        self.certificates = []
        self._index, self._pending, self._saved, self._evaluated = 0, None, None, set()
        self._mark = time.monotonic()

    def begin(self, step, record=None):
        """Goes on from a checkpoint's step and record: later lines are cut off."""
        record = record or {}
        for name in ("position", "tokens", "seconds", "certificates"):
            setattr(self, name, record.get(name, getattr(self, name)))
        self._saved = step or None
        if self._writes:
            metrics.cut(self.path, step)
            self.writer = metrics.Writer(self.path, tensorboard=self.workdir / "tensorboard")
        kept = metrics.read(self.path) if self.path.exists() else []
        self._evaluated = {(r["step"], r["stage"]) for r in kept if r["split"] == "eval"}
        for certificate in self.certificates:
            self._write_certificate(certificate)

    def record(self):
        """What a checkpoint keeps of this; plain data."""
        return dict(
            position=self.position, tokens=self.tokens, seconds=self.seconds,
            certificates=self.certificates,
        )  # fmt: skip

    def stage(self, index):
        """From here on, steps are of this stage; its clock starts."""
        self._index = index
        self.mark()

    def mark(self):
        """What passed since the last step - compiling, evaluating - is not training time."""
        self._mark = time.monotonic()

    def sync(self):
        """Makes sure that all lines so far outlive a power cut; before a save."""
        self.flush()
        if self.writer:
            self.writer.sync()

    def saved(self, step):
        self._saved = step
        self.mark()

    def take(self, info):
        """Notes a step that is under way, and reads the one before."""
        self.flush()
        self._pending = info

    def flush(self):
        """Reads the pending step. Raises CheckFailed where its loss is not finite."""
        info, self._pending = self._pending, None
        if info is None:
            return
        values = {name: float(value) for name, value in info.metrics.items()}
        divergence.check_finite(
            values, step=info.step, position=info.position,
            rows=self.stages[self._index]["batch"], checkpoint=self._saved,
        )  # fmt: skip
        now = time.monotonic()
        passed, self._mark = now - self._mark, now
        tokens = int(values.pop("tokens"))
        self.position = info.position
        self.tokens += tokens
        self.seconds += passed
        is_last = info.step == self.stages[self._index]["end"]
        shown = None
        if info.step % self.every == 0 or is_last or info.step == 1:
            shown = values | dict(tokens_per_second=tokens / max(passed, 1e-9))
            self._write(info.step, "train", shown)
        self.seen.step(info.step, self._name, shown)

    @property
    def _name(self):
        return self.stages[self._index]["name"]

    def has_evaluated(self, step):
        """Whether this stage has been evaluated at this step, before a restart perhaps."""
        return (step, self._name) in self._evaluated

    def evaluated(self, step, scores):
        self._evaluated.add((step, self._name))
        self._write(step, "eval", scores | dict(length=self.stages[self._index]["length"]))
        gain = scores["unigram"] - scores["mask_loss"]
        side = "below" if gain > 0 else "above"
        self.seen.event(
            f"step {step}: held-out mask_loss {scores['mask_loss']:.3f}, mlm_loss "
            f"{scores['mlm_loss']:.3f} ({abs(gain):.2f} nat {side} unigram)"
        )
        self.mark()

    def grown(self, certificate):
        self.certificates.append(certificate)
        self._write_certificate(certificate)
        rows = "; ".join(row["changed"] for row in certificate["rows"]) or "nothing changes"
        self.seen.event(f"transition {certificate['transition']}: {rows}")
        self.mark()

    def completed(self, certificate):
        """Puts a certificate that has learnt more in the place of the last one."""
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
        if not self._writes:
            return
        path = self.workdir / "growth" / f"{certificate['transition']}.json"
        checksums.write_atomically(path, json.dumps(certificate, indent=2) + "\n")

    def close(self):
        if self.writer:
            self.writer.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
