"""Tests of the teacher cache with real processes: killed, or several at once."""

import processes
import pytest
from distilling import RECIPE

from bertgrow.train import metrics

# A file for every step: whoever is killed between two leaves some behind.
PROGRAM = (
    "import sys; from bertgrow import cli; from bertgrow.teacher_cache import entries; "
    "entries.PART_BYTES = 1; sys.exit(cli.main(sys.argv[1:]))"
)
STEPS = 24  # of each stage, in two phases of layers
SAVED = 16  # within the second phase
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def launch(store, taught_by):
    """Starts a student in a process of its own."""
    start = processes.launcher(
        "distill", f"{RECIPE}:cached_student", store=store, program=("-c", PROGRAM)
    )
    steps = [f"--config.stages[{stage}].steps={STEPS}" for stage in (0, 1)]

    def student(workdir, cache, *options):
        options = [taught_by, "--config.checkpoint.every=8", *steps, *options]
        return start(workdir, "--cache", str(cache), *options)

    return student


def finish(process, workdir):
    """The metrics of a run that is to end by itself."""
    assert process.wait() == 0, processes.said(workdir)
    return metrics.read(workdir / "metrics.jsonl")


def kill_when(process, condition):
    processes.wait_for(condition, process)
    process.kill()
    assert process.wait() == -9


@pytest.fixture(scope="module")
def undisturbed(launch, tmp_path_factory):
    """A finished run's cache and metrics."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = launch(folder / "run", folder / "cache")
    return folder / "cache", finish(process, folder / "run")


def files(cache):
    return sorted(path.relative_to(cache) for path in cache.rglob("*.array_record"))


def test_killed_while_it_writes_and_while_it_reads_it_ends_with_equal_metrics(
    launch, undisturbed, tmp_path
):
    complete, expected = undisturbed
    workdir, cache = tmp_path / "run", tmp_path / "cache"
    saved = workdir / "checkpoints" / "checksums" / f"{SAVED}.json"

    kill_when(launch(workdir, cache), lambda: len(files(cache)) > 2)
    partial = files(cache)
    kill_when(launch(workdir, cache), saved.exists)
    read = files(cache)
    actual = finish(launch(workdir, cache), workdir)

    assert 2 < len(partial) < STEPS  # killed in the midst of writing,
    assert {path.parts[0] for path in read} == {"0-progressive"}  # and of the first stage
    assert metrics.differences(expected, actual) == []
    assert files(cache) == files(complete)


def test_two_students_read_a_finished_cache_at_once(launch, undisturbed, tmp_path):
    cache, expected = undisturbed
    written = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    wide = ["--config.model.ffn_width=24", "--config.transfer.attention=0.5"]

    same, other = launch(tmp_path / "same", cache), launch(tmp_path / "other", cache, *wide)
    actual, differing = finish(same, tmp_path / "same"), finish(other, tmp_path / "other")

    assert metrics.differences(expected, actual) == []
    assert len(differing) == len(expected) and metrics.differences(expected, differing)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == written
