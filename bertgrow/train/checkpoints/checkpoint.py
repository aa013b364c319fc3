"""Saves and restores checkpoints with Orbax, and verifies them with checksums.

    with Checkpoints(workdir / "checkpoints", stage_ends=[200, 500]) as checkpoints:
        step = checkpoints.latest()
        state, record = checkpoints.restore(step, target)
        checkpoints.save(step, state, record)  # returns at once, writes in the background

A checkpoint is complete once `checksums/STEP.json` exists, which is written last.
"""

import bisect
import os
import sys
import threading
import time

import jax
from etils import epath

from bertgrow.core import errors
from bertgrow.train import agreement
from bertgrow.train.checkpoints import checksums, disk, state_files

UNUSABLE = ".unusable"  # end of the name of an incomplete or damaged checkpoint
# Orbax numbers the saves of a process in one variable: two at the same time, of runs in
# threads, would wait for each other's folders.
_SAVING = threading.Lock()


class Checkpoints:
    """Checkpoints of a run. A context manager: its exit waits for the save in progress.

    Args:
      path: folder; may be a bucket (`gs://...`).
      stage_ends: steps at which the stages end; one checkpoint of each stage is kept.
      keep: number of newest checkpoints to keep as well; at least 2, in case the newest one
        is damaged.
      record_type: declared type of the records, see `json_files`.
      on_complete: function (seconds of the save), called in the first process when a save is
        complete.
    """

    def __init__(
        self, path, *, stage_ends=(), keep=2, record_type=dict, on_complete=lambda seconds: None
    ):
        if keep < 2:
            raise errors.InputError(
                f"keep={keep} checkpoints; keep at least 2: a damaged one must not be the last"
            )
        path = str(path)
        self.path = epath.Path(path if "://" in path else os.path.abspath(path))
        self.damaged = {}  # step -> reason, filled by `latest`
        self._ends, self._keep = tuple(stage_ends), keep
        self._record_type, self._on_complete = record_type, on_complete
        self._lock = None
        self._writer = None  # opened by the first save, so that readers do not change the disk
        self._thread = self._error = self._last = None
        self._is_error_raised = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def latest(self, report=print):
        """Returns the newest intact step, or None; calls `report` for each damaged one."""
        return agreement.from_first(lambda: self._newest_intact(report))

    def steps(self):
        """Returns the steps that have a folder, ascending; some may be damaged."""
        try:
            return sorted(int(entry.name) for entry in self._entries() if _is_step(entry))
        except OSError as error:
            disk.raise_if_storage(error, self.path, "read")
            raise

    def record(self, step):
        """Returns the record that was passed to `save` with the state."""
        return state_files.read_record(self._folder(step), self._record_type)[0]

    def digest(self, step):
        """Returns the sha256 of the checksum file of a checkpoint; None if it has none."""
        file = self._checksum(step)
        return agreement.from_first(lambda: checksums.digest(file) if file.exists() else None)

    def restore(self, step, target):
        """Restores the state and the record of a step.

        Args:
          step: int, one that `latest` returned.
          target: TrainState of `jax.ShapeDtypeStruct` with shardings, of any mesh.

        Returns:
          `(state, record)`.
        """
        state = state_files.read(self._folder(step), state_files.plain(target))
        record, key_impl = state_files.read_record(self._folder(step), self._record_type)
        self._last = step
        key = jax.random.wrap_key_data(state.key, impl=key_impl)
        return state._replace(key=key), record

    def restore_params(self, step, target, *, ignore=()):
        """Restores the parameters only, e.g. to start another run or to load a teacher.

        Args:
          step: int.
          target: tree of `jax.ShapeDtypeStruct` with shardings.
          ignore: modules that the checkpoint may have and `target` lacks, e.g. heads.
        """
        damage = agreement.from_first(
            lambda: checksums.reason(self._folder(step), self._checksum(step))
        )
        if damage is not None:
            raise errors.InputError(
                f"the weights of checkpoint {step} in {self.path} are needed and cannot be "
                f"used: {damage}; restore the folder from a copy, or train it again"
            )
        state = state_files.read(
            self._folder(step), {"params": target}, partial_restore=True,
            ignore=[f"params/{module}/" for module in ignore],
        )  # fmt: skip
        return state["params"]

    def save(self, step, state, record):
        """Starts to save a state; returns once its arrays are copied from the devices.

        Does nothing if the step was the last one saved or restored. An error of the previous
        save is raised here, or by `wait` or `close`.

        Args:
          step: int, `state.step`.
          state: TrainState.
          record: JSON-serialisable dict: stage, data position, counters, certificates,
            environment.
        """
        self.wait()
        if step == self._last:
            return
        try:
            self._open()
        except OSError as error:
            disk.raise_if_storage(error, self.path, "write")
            raise
        newest = max(self.steps(), default=-1)
        if step <= newest:
            raise RuntimeError(f"checkpoint {newest} exists; {step} would be older")
        begin = time.monotonic()
        _SAVING.acquire()  # until the background thread has written
        try:
            self._writer.save(self._folder(step), args=state_files.contents(state, record))
        except Exception as error:
            _SAVING.release()
            self._error = error
            self.wait()
        self._last = step
        self._thread = threading.Thread(
            target=self._finish, args=(step, begin), name="checkpoint"
        )
        self._thread.start()

    def wait(self):
        """Waits until the last save is complete on disk; raises if it failed.

        After a failed save every further call raises, because threads of Orbax may still be
        writing.
        """
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            self._is_error_raised = True
            disk.raise_if_storage(self._error, self.path, "write")
            raise self._error

    def close(self):
        """Waits for the save in progress. Always call it; otherwise that save is lost."""
        try:
            if not self._is_error_raised:
                self.wait()
        finally:
            self._close_writer()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _close_writer(self):
        if self._writer is None:
            return
        try:
            self._writer.close()
        except Exception:
            if self._error is None:  # else Orbax raises the error of a failed save again
                raise
        self._writer = None

    def _finish(self, step, begin):
        """Background thread: waits for Orbax, writes checksums, removes old checkpoints."""
        try:
            try:
                self._writer.wait_until_finished()
            finally:
                _SAVING.release()
            if jax.process_index() == 0:
                checksums.write(self._folder(step), self._checksum(step))
                self._on_complete(time.monotonic() - begin)
                self._prune()
        except BaseException as error:  # noqa: BLE001 - the next call raises it
            self._error = error
            if not threading.main_thread().is_alive():  # no further call can raise it
                print(f"checkpoint {step} was lost: {error}", file=sys.stderr, flush=True)
                os._exit(1)

    def _newest_intact(self, report):
        for step in reversed(self.steps()):
            try:
                damage = checksums.reason(self._folder(step), self._checksum(step))
            except OSError as error:  # unreadable now, but perhaps not damaged
                disk.raise_if_storage(error, self.path, "read")
                raise
            if damage is None:
                return step
            self.damaged[step] = damage
            report(f"checkpoint {step} is not used: {damage}")
        return None

    def _open(self):
        """Prepares the folder for writing: removes what an interrupted save has left.

        Checkpoints that cannot be used get another name, and are removed after the next save.
        """
        if self._writer is not None:
            return
        agreement.from_first(self._tidy)
        self._writer = state_files.writer()

    def _tidy(self):
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = disk.lock(self.path)
        complete = {step for step in self.steps() if self._checksum(step).exists()}
        for entry in self._entries():
            if ".orbax-checkpoint-tmp" in entry.name:
                disk.remove(entry)
            elif _is_step(entry) and int(entry.name) not in complete - self.damaged.keys():
                entry.rename(self.path / f"{entry.name}.{time.time_ns()}{UNUSABLE}")

    def _prune(self):
        """Removes old checkpoints, each checksum first, so that partial ones stay unused."""
        steps = self.steps()
        for step in set(steps) - retained(steps, self._ends, self._keep):
            self._checksum(step).unlink(missing_ok=True)
            (self._folder(step)).rmtree()
        for entry in self._entries():
            if entry.name.endswith(UNUSABLE):
                entry.rmtree()

    def _entries(self):
        return list(self.path.iterdir()) if self.path.exists() else []

    def _checksum(self, step):
        return self.path / "checksums" / f"{step}.json"

    def _folder(self, step):
        return self.path / str(step)


def retained(steps, stage_ends, keep):
    """Returns the steps to keep: the last `keep`, and the last step of each stage.

    The rule uses the stage ends only. Metrics are not available after a restart, so a rule
    that reads them would then delete the checkpoints of whole stages.

    Args:
      steps: steps of the existing checkpoints.
      stage_ends: step of the run at which each stage ends; a checkpoint at that step belongs
        to the stage that ends.
      keep: int, at least 1.
    """
    steps, ends = sorted(steps), sorted(stage_ends)
    last_of_stage = {bisect.bisect_left(ends, step): step for step in steps}
    return set(steps[-keep:]) | set(last_of_stage.values())


def _is_step(entry):
    return entry.name.isdecimal()
