"""Tests of `bertgrow plan --compile`: children, cache, advice, refused options."""

import json
import sys

import jax
import plans
import pytest

from bertgrow import cli
from bertgrow.planning import compile_check, compiled, hardware, programs, topologies
from bertgrow.recipes import load, resolve
from bertgrow.train import sharding

TINY = [
    "bert_base", "--config.batch=8", "--config.length=16",
    "--config.model.num_layers=1", "--config.model.width=16", "--config.model.num_heads=2",
    "--config.model.ffn_width=16", "--config.model.vocab_size=64",
    "--config.model.max_length=16",
]  # fmt: skip


def settings_of(config, *fields):
    return resolve.resolve(load.read(config, list(fields)))


def one_device():
    return sharding.make_mesh(devices=jax.devices()[:1])


@pytest.mark.slow
def test_a_plan_compiles_for_the_attached_devices_and_only_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    command = ["plan", "--config", *TINY, "--compile", "attached"]

    assert cli.main([*command, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(compiled, "CHILD", [sys.executable, "-c", "exit('no second child')"])
    devices = [dict(kind="cpu", chips=1)]
    run = compiled._run
    monkeypatch.setattr(
        compiled, "_run", lambda order: devices if order.action == "devices" else run(order)
    )
    assert cli.main(command) == 0
    text = capsys.readouterr().out

    (stage,) = plan["compiled"]["stages"]
    step, evaluation = stage["programs"]
    assert (step["program"], evaluation["program"]) == ("step", "evaluation")
    memory = plan["stages"][0]["memory"]
    state = memory["parameters"] + memory["moments"]
    assert state < step["arguments"] < 1.1 * state + 8 * 16 * 4 * 3
    assert stage["fits"] and stage["peak"] == max(step["peak"], evaluation["peak"])
    assert "compiled for attached" in text


def test_a_child_that_dies_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        compiled, "CHILD", [sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"]
    )

    assert cli.main(["plan", "--config", *TINY, "--compile", "attached"]) == 1

    assert "ended with signal 11" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json"))


def test_the_growth_into_a_stage_is_compiled():
    settings, mesh = settings_of(*plans.SMALL), one_device()

    (growth,) = programs.of_stage(settings, 1, mesh, names=("growth",))

    assert growth["program"] == "growth" and not growth["collectives"]
    assert growth["peak"] > growth["arguments"] > 0
    assert not list(programs.of_stage(settings, 0, mesh, names=("growth",)))


@pytest.mark.parametrize("fitting", [1, 2, 4, 8, 9])
def test_the_largest_micro_batch_that_fits_is_found(fitting, monkeypatch):
    """Micro-batches fit where a batch is split into at least `fitting` of them."""
    compiled_ones = []
    monkeypatch.setattr(programs, "_step", lambda stage, state, mesh, accumulate: accumulate)

    def figures(accumulate):
        compiled_ones.append(accumulate)
        return dict(peak=100 if accumulate >= fitting else 101)

    monkeypatch.setattr(programs, "_figures", figures)
    settings, mesh = settings_of(*TINY), one_device()

    accumulate, compilations = programs.largest_slice(settings, 0, mesh, limit=100)

    assert programs.slices(settings, mesh) == [1, 2, 4, 8]
    assert accumulate == (fitting if fitting < 9 else None)
    assert compilations == len(compiled_ones) <= 3


@pytest.fixture
def checked(monkeypatch, capsys):
    """A function of the step's peak bytes that returns (exit code, output) of the command."""
    device = hardware.TABLE["v5e"]
    topology = topologies.Topology("v5e:2x2", device, 4)
    monkeypatch.setattr(compiled, "resolve", lambda name: topology)

    def check(peak, *options):
        step = dict(program="step", seconds=2.0, arguments=1e6, temporaries=1e6, peak=peak)
        step |= dict(cycles=3_000_000, uncounted={"collectives": 2})
        step["collectives"] = [
            dict(kind="all-reduce", dtype="f32", shape=[8], count=3, bytes=32)
        ]
        monkeypatch.setattr(compiled, "run_all", lambda orders: [[step]])
        code = cli.main(["plan", "--config", *TINY, "--compile", "v5e:2x2", *options])
        return code, capsys.readouterr().out

    return check


def test_a_stage_that_fits_has_a_time_a_share_of_the_peak_and_collectives(checked):
    code, text = checked(8e9)

    assert code == 0
    words = " ".join(text.split())  # the table breaks its lines by width
    assert "2 ms" in words and "estimate" in words and "not counted: collectives" in words
    assert [line.split() for line in text.splitlines() if "all-reduce" in line] == [
        ["0", "all-reduce", "f32", "3", "96", "B"]
    ]


def test_a_stage_that_does_not_fit_fails_with_a_suggestion(checked):
    code, text = checked(17e9)

    assert code == 1
    assert "stage 0 does not fit into 16 GB of v5e: add --config." in text.replace("\n  ", " ")


def test_where_activations_do_not_help_weights_are_to_be_divided(checked):
    code, text = checked(1e15)

    assert code == 1
    assert "--config.mesh.fsdp=4" in text


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--compile", "v5x:2x2"], ["nearest: v5", ":SIZE with SIZE one of"]),
        (["--compile", "v5litepod-16"], ["nearest: v5e", "attached"]),
        (["--compile", "v4:4x4"], ["v4:2x2x2"]),
        (["--compile", "banana"], ["no such topology"]),
        (["--search-batch"], ["needs --compile"]),
        (["--compile", "v5e:2x2", "--device", "v4"], ["--device is v4", "v5e"]),
        (["--compile", "v5e:2x2", "--chips", "3"], ["--chips is 3", "4"]),
        (["--compile", "v5e:2x2", "--calibrate"], ["remove one"]),
        (["--compile", "v5e:16x16"], ["does not divide over 256 devices"]),
    ],
)
def test_bad_input_is_one_line(options, expected, monkeypatch, capsys):
    monkeypatch.setattr(topologies, "has_compiler", lambda: True)

    assert cli.main(["plan", "--config", *TINY, *options]) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(words in error for words in expected), error


def test_without_libtpu_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(topologies, "has_compiler", lambda: False)

    assert cli.main(["plan", "--config", *TINY, "--compile", "v5e:2x2"]) == 2

    assert "pip install 'bertgrow[tpu]'" in capsys.readouterr().err


def test_a_search_raises_accumulate_until_every_stage_fits(monkeypatch):
    settings = settings_of(*plans.SMALL)
    plan = dict(stages=[dict(name=str(i), memory=dict(total=10 - i)) for i in range(4)])
    topology = topologies.Topology("v5e:2x2", hardware.TABLE["v5e"], 4)
    smallest = {0: 2, 1: 1, 2: 4, 3: 1}
    monkeypatch.setattr(
        compiled, "smallest_accumulate", lambda settings, topology, index: smallest[index]
    )

    def steps(settings, topology, names):
        return [
            [dict(peak=1e9 if settings.accumulate >= needed else 1e12)]
            for needed in smallest.values()
        ]

    monkeypatch.setattr(compiled, "programs", steps)

    result = compile_check.with_largest_slices(plan, settings, topology)

    assert result.accumulate == 4
