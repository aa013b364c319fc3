"""Tests that a cache is filled with what a teacher computes of each sequence and phase."""

import errno
import os
from types import SimpleNamespace

import jax
import limits
import numpy as np
import pytest

from bertgrow.core.errors import InputError
from bertgrow.data.sequences import streams
from bertgrow.teacher_cache import cache as caches
from bertgrow.teacher_cache import entries, fill
from bertgrow.train import sharding

STEPS, BATCH, LENGTH = 4, 8, 32  # two phases of two steps
TEACHER = np.float32(0.5)


def filled(store, folder, teacher=TEACHER):
    """The cache of a stage that begins at step 10, and the stream of its sequences."""
    fields = {"scaled": ((LENGTH,), "float32")}

    def make(frozen, inputs, step):
        return {"scaled": frozen * inputs["tokens"] + step}

    task = SimpleNamespace(frozen=teacher, prepare=lambda batch: batch)
    stage = SimpleNamespace(task=task, targets=SimpleNamespace(make=make), steps=STEPS)
    layout = entries.layout(fields, phases=2, rows=STEPS * BATCH, batch=BATCH)
    cache = caches.Cache(
        folder, "0-toy", layout=layout, start=10, first=0, batch=BATCH, slices=1, store="s",
        recipe={},
    )  # fmt: skip
    stream = streams.Stream([store], length=LENGTH, seed=1)
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    fill.fill(
        cache, stage, stream, stream.start(), mesh=mesh, teacher="t", say=lambda text: None
    )
    return cache, stream


def test_every_sequence_has_the_outputs_of_its_phase(store, tmp_path):
    cache, stream = filled(store, tmp_path)

    stored = cache.entries()(np.arange(STEPS * BATCH))["scaled"]

    addresses, _ = stream.take(stream.start(), STEPS * BATCH)
    first_steps = np.repeat([10, 12], 2 * BATCH)[:, None]
    tokens = stream.read(addresses)["tokens"]
    np.testing.assert_array_equal(stored, TEACHER * tokens + first_steps)
    assert cache.missing() == []


def test_a_missing_file_is_written_again_and_the_others_are_kept(store, tmp_path, monkeypatch):
    monkeypatch.setattr(entries, "PART_BYTES", 1)
    cache, _ = filled(store, tmp_path)
    first, second, *_ = sorted(cache.folder.glob("*.array_record"))
    content, written = second.read_bytes(), first.stat().st_mtime_ns
    second.unlink()

    filled(store, tmp_path)

    assert second.read_bytes() == content
    assert first.stat().st_mtime_ns == written


def test_outputs_that_are_not_finite_are_refused(store, tmp_path):
    with pytest.raises(InputError, match="scaled has values that are not finite as float32"):
        filled(store, tmp_path, teacher=np.float32(np.inf))


@pytest.mark.parametrize("limit", [100, 3000])
def test_a_full_disk_leaves_no_file_that_looks_complete(store, tmp_path, limit):
    """The limits end cache.json and the outputs."""
    with limits.file_size(limit), pytest.raises((OSError, InputError)) as failed:
        filled(store, tmp_path / "full")
    assert not list((tmp_path / "full").rglob("*.array_record"))
    reason = os.strerror(errno.EFBIG)
    assert reason in str(failed.value) and str(tmp_path / "full") in str(failed.value)

    cache, _ = filled(store, tmp_path / "full")
    expected, _ = filled(store, tmp_path / "whole")

    sequences = np.arange(STEPS * BATCH)
    np.testing.assert_array_equal(
        cache.entries()(sequences)["scaled"], expected.entries()(sequences)["scaled"]
    )
