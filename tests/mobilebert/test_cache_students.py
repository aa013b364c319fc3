"""Each way to learn, from a cache as from the live teacher, which many students may share."""

import jax
import numpy as np
import pytest
from taught_runs import RECIPE, distil, losses, rows

from bertgrow import config, job, journal, overrides
from bertgrow.data import prepare
from mobilebert import teaching

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def taught_by(store, tmp_path_factory):
    """The option that names a teacher which is there already."""
    workdir = tmp_path_factory.mktemp("teacher")
    assert distil(store, workdir, variant="teacher") == 0
    return f"--config.transfer.teacher={workdir}"


@pytest.fixture(scope="module")
def few(store, text_file, tmp_path_factory):
    """A store of some dozens of rows, with the pieces of `store`."""
    folder = tmp_path_factory.mktemp("few")
    documents = text_file.read_text().split("\n\n")[:18]
    (folder / "few.txt").write_text("\n\n".join(text[:400] for text in documents))
    vocab = str(store.folder / "vocab.model")
    return prepare.prepare(
        [str(folder / "few.txt")], folder / "few", vocab=vocab, held_out=0.5, workers=1
    )


def live_and_cached(store, folder, *given, variant="student"):
    """The working directories of both runs; the cache is in `folder / "cache"`."""
    cache = ["--cache", str(folder / "cache")]
    for name, extra in (("live", []), ("cached", cache)):
        assert distil(store, folder / name, *given, *extra, variant=variant) == 0
    return folder / "live", folder / "cached"


@pytest.mark.parametrize(
    "variant, given",
    [
        ("joint", []),
        ("auxiliary", ["--config.accumulate=2", "--config.batch=16"]),
    ],
)
def test_other_strategies_and_slices_of_a_batch_learn_the_same(
    store, taught_by, tmp_path, variant, given
):
    live, cached = live_and_cached(store, tmp_path, taught_by, *given, variant=variant)

    np.testing.assert_allclose(losses(cached), losses(live), rtol=1e-5)


def test_a_phase_longer_than_its_epochs_reads_its_entries_again(few, taught_by, tmp_path):
    given = ["--config.data.mask_epochs=2", "--config.stages[0].steps=18", taught_by]

    live, cached = live_and_cached(few, tmp_path, *given, variant="progressive")

    np.testing.assert_allclose(losses(cached), losses(live), rtol=1e-5)
    layout = made(few, tmp_path / "cache", *given).layout
    assert (layout.phases, layout.rows, layout.entries) == (2, 9 * 8, 65)


def made(store, folder, *given):
    """The `Cache` of the first stage of `:progressive`."""
    recipe = overrides.read(f"{RECIPE}:progressive", list(given))
    settings = config.resolve(recipe, vocab=store.vocab)
    return job.make(settings, [store], cached_in=folder).caches[0]


@pytest.fixture(scope="module")
def default(store, taught_by, tmp_path_factory):
    """A live run and a cached one in the precision and with the labels of the defaults."""
    folder = tmp_path_factory.mktemp("default")
    runs = live_and_cached(
        store, folder, taught_by, "--config.transfer.cache_dtype=bfloat16",
        "--config.transfer.cache_top_k=64",
    )  # fmt: skip
    return folder, *runs


def test_half_precision_and_the_best_labels_teach_nearly_the_same(default):
    _, live, cached = default

    print(np.array([losses(cached), losses(live)]).T)
    print([[r["mask_loss"] for r in rows(w, "eval")] for w in (live, cached)])
    assert 0


def test_another_student_of_a_complete_cache_does_not_ask_the_teacher(
    store, taught_by, default, tmp_path, monkeypatch
):
    cache = default[0] / "cache"
    written = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    read, alive = [], []
    take, find = journal.Journal.take, teaching.frozen

    def counted(source, dtype):
        found = find(source, dtype)
        return found._replace(load=lambda *args: read.append(source) or found.load(*args))

    def looking(self, info):
        alive.extend(leaf.shape for leaf in jax.live_arrays())
        take(self, info)

    monkeypatch.setattr(teaching, "frozen", counted)
    monkeypatch.setattr(journal.Journal, "take", looking)
    given = ["--config.model.ffn_width=24", "--config.transfer.hidden=50.0", taught_by]
    given += ["--config.transfer.cache_dtype=bfloat16", "--config.transfer.cache_top_k=64"]

    assert distil(store, tmp_path, *given, "--cache", str(cache), variant="student") == 0

    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == written
    assert len(read) == 1  # for what the student copies, before it trains
    print(set(alive))
    assert 24 in sum(alive, ()) and 32 in sum(alive, ())
