"""Tests that a cached teacher equals a live one, and that a cache of another is refused."""

import json
import shutil
from pathlib import Path

import damage
import distilling
import numpy as np
import pytest
from distilling import call, losses
from hypothesis import given

from bertgrow.data.sequences import streams
from bertgrow.teacher_cache import cache as caches
from bertgrow.teacher_cache import entries
from bertgrow.train.checkpoints import disk


def distil(store, workdir, *options, variant="cached"):
    return distilling.distil(store, workdir, *options, variant=variant)


@pytest.fixture(scope="module")
def live(store, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("live")
    assert distil(store, workdir) == 0
    return workdir


@pytest.fixture(scope="module")
def cached(store, tmp_path_factory):
    """A run, its `workdir` and its `cache`; the small parts make several files of a phase."""
    folder = tmp_path_factory.mktemp("cached")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entries, "PART_BYTES", 1)
        assert distil(store, folder / "workdir", "--cache", str(folder / "cache")) == 0
    return folder


@pytest.fixture
def cut_back(cached, tmp_path):
    """A copy of the cache and its run, cut back to the end of the teacher."""
    shutil.copytree(cached, tmp_path / "again")
    checkpoints = tmp_path / "again" / "workdir" / "checkpoints"
    for step in (12, 16):
        (checkpoints / "checksums" / f"{step}.json").unlink()
        shutil.rmtree(checkpoints / str(step))
    return tmp_path / "again"


@pytest.mark.slow
def test_a_cached_teacher_trains_the_student_like_a_live_one(live, cached):
    np.testing.assert_allclose(losses(cached / "workdir"), losses(live), rtol=1e-5)


@pytest.mark.slow
def test_a_killed_writer_goes_on_with_the_first_missing_file(
    store, cut_back, live, monkeypatch
):
    monkeypatch.setattr(entries, "PART_BYTES", 1)
    cache = cut_back / "cache"
    (first, second, *_) = sorted(cache.glob("1-progressive/*.array_record"))
    before, stamp = second.read_bytes(), first.stat().st_mtime_ns
    second.rename(f"{second}.tmp")  # as a writer leaves it that is killed

    assert distil(store, cut_back / "workdir", "--cache", str(cache)) == 0

    assert second.read_bytes() == before
    assert first.stat().st_mtime_ns == stamp
    np.testing.assert_allclose(losses(cut_back / "workdir"), losses(live), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, options",
    [
        ("recipe", ["--config.masking.rate=0.2"]),
        ("store", []),
        ("teacher", []),
    ],
)
def test_a_cache_of_another_run_is_refused_with_both_hashes(
    store, cached, tmp_path, capsys, name, options
):
    shutil.copytree(cached / "cache", tmp_path / "cache")
    path = tmp_path / "cache" / "cache.json"
    identities = json.loads(path.read_text())
    expected_hash = identities["1-progressive"][name][:12]
    workdir = tmp_path / "new"
    if not options:
        identities["1-progressive"][name] = "f" * 64
        path.write_text(json.dumps(identities))
        workdir = tmp_path / "workdir"
        shutil.copytree(cached / "workdir", workdir)

    code = distil(store, workdir, "--cache", str(path.parent), *options)

    message = capsys.readouterr().err
    assert code == 2
    assert f"was made for {name} " in message
    assert expected_hash in message and (options or "f" * 12 in message)
    assert not options or "masking.rate was 0.15 and is 0.2" in message


def test_a_cache_beyond_the_free_disk_is_refused_before_anything_is_written(
    store, tmp_path, capsys, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=2 * 10**7)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)
    options = ["--cache", str(tmp_path / "cache"), "--config.stages[2].steps=1000"]

    code = distil(store, tmp_path / "workdir", *options)

    message = capsys.readouterr().err
    assert code == 2
    assert "targets of the teacher need 96.9 MB" in message and "has 20 MB" in message
    assert not (tmp_path / "cache").exists()


def test_files_without_an_entry_in_cache_json_are_refused(tmp_path):
    """Without `cache.json` the teacher of the files is unknown."""
    cache = one_stage(tmp_path)
    caches.check(cache, teacher="t")
    cache.folder.mkdir()
    (cache.folder / "000-00000.array_record").touch()

    with pytest.raises(entries.InputError, match="has no entry for them"):
        caches.check(cache, teacher="t")


def test_a_cache_for_a_recipe_without_a_teacher_is_refused(store, tmp_path, capsys):
    options = ["--cache", str(tmp_path / "cache")]

    assert distil(store, tmp_path / "workdir", *options, variant="cached_teacher") == 2
    assert "no stage of the recipe has a teacher" in capsys.readouterr().err


@pytest.mark.slow
def test_the_plan_counts_the_bytes_that_are_written(store, cached, capsys, monkeypatch):
    monkeypatch.setattr(entries, "PART_BYTES", 1)
    options = ["--config.data.vocab_size=400", "--device", "v5e", "--json"]
    capsys.readouterr()

    assert call("plan", store, *options, variant="cached") == 0

    plan = json.loads(capsys.readouterr().out)
    written = [path.stat().st_size for path in cached.glob("cache/*/*.array_record")]
    assert plan["cache_bytes"] == pytest.approx(sum(written), rel=0.03)
    assert plan["stages"][1]["cache"]["pays_from"] is None  # so small a teacher is fast


def test_a_file_with_a_flipped_bit_is_refused(tmp_path):
    layout = entries.layout({"a": ((64,), "float32")}, phases=1, rows=8, batch=4)
    arrays = {"a": np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)}
    path = tmp_path / next(layout.parts()).name
    entries.write(path, entries.records(arrays, layout.fields))
    read = entries.Entries(tmp_path, layout, first=100)
    np.testing.assert_array_equal(read(np.arange(103, 106))["a"], arrays["a"][3:6])
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)

    with pytest.raises(entries.InputError, match=f"{path.name} is damaged: remove it"):
        entries.Entries(tmp_path, layout, first=100)(np.arange(100, 108))


def test_entries_of_a_repeated_row_are_read_again(tmp_path):
    layout = entries.layout({"a": ((), "int32")}, phases=2, rows=16, batch=4, period=3)
    for part in layout.parts():
        values = np.arange(part.count, dtype=np.int32) + 10 * part.phase
        entries.write(tmp_path / part.name, entries.records({"a": values}, layout.fields))

    rows = entries.Entries(tmp_path, layout, first=0)(np.arange(4, 12))

    assert rows["a"].tolist() == [1, 2, 0, 1, 10, 11, 12, 10]


def test_rows_and_masks_repeat_after_so_many_epochs(store):
    stream = streams.Stream([store], length=64, seed=1, epochs=2)
    period = stream.epoch_sequences(2)
    addresses, _ = stream.take(stream.start(), period + 5)

    first, later = stream.read(addresses[:5]), stream.read(addresses[-5:])
    other = stream.read(addresses[stream.epoch_sequences() :][:5])

    for name in first:
        np.testing.assert_array_equal(later[name], first[name])
    assert (other["tokens"] != first["tokens"]).any()


def one_stage(root):
    return caches.Cache(
        root, "0-joint", layout=None, start=0, first=0, batch=1, slices=1, store="s", recipe={}
    )


IDENTITIES = {"0-joint": one_stage(Path("cache")).identity("t")}


@given(damage.of(json.dumps(IDENTITIES, indent=2) + "\n"))
def test_a_damaged_cache_json_is_one_line_or_says_the_same(tmp_path_factory, content):
    cache = one_stage(tmp_path_factory.mktemp("cache"))
    (cache.root / "cache.json").write_bytes(content)
    (cache.folder).mkdir()
    (cache.folder / "000-00000.array_record").touch()

    try:
        caches.check(cache, teacher="t")
    except entries.InputError as error:
        assert "\n" not in str(error)
    else:
        identity = caches.read(cache.root)[cache.name]
        compared = ("teacher", "store", "recipe")
        assert [identity[name] for name in compared] == [
            IDENTITIES[cache.name][name] for name in compared
        ]
