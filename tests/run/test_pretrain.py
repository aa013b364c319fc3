"""Tests of `bertgrow pretrain` in this process: its output files and its errors."""

import contextlib
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_runs import RECIPE, pretrain

from bertgrow import cli
from bertgrow.train import metrics


@pytest.fixture(scope="module")
def plain(finished, store, tmp_path_factory):
    """A run of one stage from the weights of `finished`, with a trace."""
    workdir, output = tmp_path_factory.mktemp("runs") / "plain", io.StringIO()
    options = [f"--config.init_from={finished}"]
    with contextlib.redirect_stdout(output):
        assert pretrain(store, workdir, *options, "--profile=7:9", variant=":plain") == 0
    return SimpleNamespace(workdir=workdir, options=options, output=output.getvalue())


def rows(workdir, split):
    return [row for row in metrics.read(workdir / "metrics.jsonl") if row["split"] == split]


def test_a_run_logs_every_step_and_evaluates_both_ends_of_a_stage(finished):
    steps = [row["step"] for row in rows(finished, "train")]
    evaluated = [(row["step"], row["stage"]) for row in rows(finished, "eval")]

    assert steps == list(range(1, 29))
    assert evaluated == [
        (5, "0"), (7, "0"), (7, "1"), (10, "1"), (14, "1"), (14, "2"), (15, "2"), (20, "2"),
        (21, "2"), (21, "3"), (25, "3"), (28, "3"),
    ]  # fmt: skip


def test_every_evaluation_records_the_same_sentences_and_what_fills_them(finished):
    filled = rows(finished, "samples")
    last = [row["samples"] for row in filled if row["stage"] == "3"]

    assert [row["step"] for row in filled] == [row["step"] for row in rows(finished, "eval")]
    for name in ("tokens", "places"):
        first, *others = [[sample[name] for sample in samples] for samples in last]
        assert len(first) == 3 and all(first) and all(each == first for each in others)
    for sample in last[-1]:
        assert sample["tokens"][0] == "[CLS]"
        assert len(sample["predicted"]) == len(sample["places"])


def test_every_transition_leaves_a_certificate_whose_claims_hold(finished):
    names = sorted(path.name for path in (finished / "growth").iterdir())
    last = json.loads((finished / "growth" / "2-3.json").read_text())

    assert names == ["0-1.json", "1-2.json", "2-3.json"]
    (row,) = last["rows"]
    assert row["changed"].startswith("mlp 16 -> 32")
    assert row["claim"] == "exact"
    assert row["max_logit_change"] < 1e-5
    assert row["ties"]["mlp"]["layers/up/kernel"] == 1
    assert row["ties_later"]["mlp"]["layers/up/kernel"] < 1
    assert row["ties_later"]["step"] == 28  # 100 steps later, or the end of the stage
    assert last["moment_norms"]["before"].keys() == {"1/mu", "1/nu"}
    assert last["moment_norms"]["after"]["1/mu"] == 0  # reset


def test_width_growth_does_not_move_the_held_out_loss(finished):
    before, after = [row for row in rows(finished, "eval") if row["step"] == 21]

    assert after["mask_loss"] == pytest.approx(before["mask_loss"], rel=1e-5)


def test_tokens_and_flops_add_up_over_the_stages(finished):
    last = rows(finished, "train")[-1]
    stages = json.loads((finished / "config.json").read_text())["stages"]

    assert last["flops"] == sum(7 * stage["flops_per_step"] for stage in stages)
    padded = 8 * 7 * (16 + 16 + 32 + 32)
    assert 0.9 * padded < last["tokens"] <= padded


def test_a_finished_run_does_nothing_the_second_time(finished, store):
    before = (finished / "metrics.jsonl").read_bytes()

    assert pretrain(store, finished) == 0

    assert (finished / "metrics.jsonl").read_bytes() == before


def test_the_recipe_that_began_a_run_must_continue_it(finished, store, capsys):
    assert pretrain(store, finished, "--config.schedule.peak=0.5") == 2

    assert "config.schedule.peak: 0.001 -> 0.5;" in capsys.readouterr().err


def test_a_run_starts_from_the_weights_of_another(finished, plain):
    first = rows(plain.workdir, "train")[0]["mlm_loss"]

    assert first < rows(finished, "train")[0]["mlm_loss"]


def test_the_seconds_of_each_phase_are_written_at_each_save_and_said_at_the_end(
    finished, plain
):
    saves, last = rows(finished, "time"), rows(plain.workdir, "time")[-1]

    assert [row["step"] for row in saves] == sorted({row["step"] for row in saves})
    assert {7, 14, 21, 28} <= {row["step"] for row in saves}
    for phase in ("steps", "compiling", "growing", "evaluating"):
        assert saves[0][phase] <= saves[-1][phase] > 0
    assert last["steps"] > 0 and last["growing"] == last["lost"] == 0
    assert re.search(r"\d+ s: \d+% in steps, \d+% ", plain.output)


def test_a_profile_of_a_window_writes_a_trace_and_prints_its_path(plain):
    (path,) = re.findall(r"trace of steps 7 to 8: (.*)", plain.output)

    assert list(Path(path).glob("*.xplane.pb"))


def test_extend_lengthens_the_last_stage_and_remat_may_change_from_there(plain, store):
    more = (*plain.options, "--config.stages[0].steps=10")
    others = ("--config.model.remat=full", "--config.checkpoint.every=9")

    refused = pretrain(store, plain.workdir, *more, variant=":plain")
    options = (*more, *others, "--extend")
    extended = pretrain(store, plain.workdir, *options, variant=":plain")

    assert (refused, extended) == (2, 0)
    assert rows(plain.workdir, "train")[-1]["step"] == 10
    changes = [
        (row["step"], row["field"], row["after"]) for row in rows(plain.workdir, "change")
    ]
    expected = [("checkpoint.every", 9), ("model.remat", "full"), ("stages[0].steps", 10)]
    assert changes == [(8, *change) for change in expected]


@pytest.mark.parametrize(
    "override, expected",
    [
        ("--config.optimizer.clpi=1", "clip"),
        ("--config.model.num_heads=3", "num_heads 3 does not divide width 16"),
        ("--config.model.vocab_size=9", "the store's vocabulary has 400"),
        ("--config.stages[1].num_layers=0", "num_layers"),
        ("--config.stages[0].num_layers=3", "layers shrink from 3 to 2"),
        ("--config.length=64", "above the position table of 32 positions"),
        ("--config.stages[2].ffn_share=3", "ffn_share 3 does not divide ffn_width 32"),
        ("--config.batch=7", "batch of 7 sequences"),
        ("--config.batch=65536", "fewer than a batch of 65536"),
        ("--config.model.next_sentence=True", "config.data.rows='pairs'"),
        ("--config.data.rows=sentences", "expected one of packed, pairs"),
        ("--config.growth.width=wide", "uneven"),
        ("--config.data.weights=1,2", "2 numbers for 1 stores"),
        ("--config.init_from=/nowhere", "/nowhere"),
        ("--workdri=x", "unknown argument"),
        ("--workdir=gs://bucket/run", "--workdir gs://bucket/run: runs write to a disk"),
        ("--time-limit=-1", "expected minutes above 0"),
        ("--time-limit=nan", "expected minutes above 0"),
        ("--profile=5:3", "expected FIRST:LAST"),
        ("--profile=40:50", "after the last step of the run, 28"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(store, tmp_path, capsys, override, expected):
    code = pretrain(store, tmp_path / "run", override, on=8)

    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1
    assert expected in error


def test_a_recipe_without_a_store_names_the_command_that_makes_one(tmp_path, capsys):
    code = cli.main(["pretrain", "--config", RECIPE, "--workdir", str(tmp_path / "run")])

    assert code == 2
    assert "bertgrow prepare" in capsys.readouterr().err


def test_a_corrupt_config_json_is_one_line(finished, store, capsys):
    path = finished / "config.json"
    text = path.read_text()
    path.write_text(text[:100])

    assert pretrain(store, finished) == 2

    path.write_text(text)
    assert "config.json is damaged" in capsys.readouterr().err


def test_a_workdir_that_cannot_be_made_is_one_line(store, tmp_path, capsys):
    (tmp_path / "file").write_text("")

    assert pretrain(store, tmp_path / "file" / "run") == 2

    assert "cannot be used" in capsys.readouterr().err
