"""Tests of `bertgrow plan`: published figures, time and cost, stores, refused options."""

import contextlib
import dataclasses
import io
import json
from types import SimpleNamespace

import jax
import plans
import pytest

from bertgrow import cli
from bertgrow.core.errors import InputError
from bertgrow.models import families
from bertgrow.objectives import stages
from bertgrow.planning import budget, estimate, hardware, store_epochs, table
from bertgrow.planning.calibration import vocabulary
from bertgrow.recipes import load, resolve

SMALL = plans.SMALL


def make_plan(capsys, config, *options):
    """What `bertgrow plan --json` prints."""
    assert cli.main(["plan", "--config", config, "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys, *options):
    """The line with which the command ends."""
    assert cli.main(["plan", "--config", *options]) == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The plan of the small recipe, and the user's cache folder during the command."""
    folder = tmp_path_factory.mktemp("cache")
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setenv("XDG_CACHE_HOME", str(folder))
        assert cli.main(["plan", "--config", *SMALL, "--json"]) == 0
    return json.loads(output.getvalue()), folder


def test_bert_base_has_the_parameters_of_the_paper(base):
    parameters = [row["parameters"] for row in base["stages"]]

    assert [row["encoder"] for row in parameters] == [38608896, 52790016, 81152256, 109482240]
    # The masked-token head of the paper, and a next-sentence head of 768 x 2 + 2.
    assert {row["heads"] for row in parameters} == {622650 + 1538}


def test_bert_base_grows_at_half_the_flops(base):
    assert round(base["speedup_percent"], 1) == 102.1
    assert [round(row["share_of_plain"], 3) for row in base["stages"]] == [
        0.027, 0.045, 0.123, 0.300,
    ]  # fmt: skip
    assert base["flops"] == sum(row["steps"] * row["flops_per_step"] for row in base["stages"])


@pytest.mark.parametrize(
    "name, encoder, speedup",
    [
        ("bert_large_grow", [83231744, 133630976, 234429440, 335141888], 107.9),
        ("bert_base_stack", None, 69.4),
        ("bert_large_stack", None, 72.1),
    ],
)
def test_the_other_recipes_save_what_they_say(name, encoder, speedup):
    plan = estimate.compared(plans.published(name))

    assert round(plan["speedup_percent"], 1) == speedup
    assert plan["stages"][-1]["predictions"] == 76
    if encoder:
        assert [row["parameters"]["encoder"] for row in plan["stages"]] == encoder


def test_hours_are_flops_over_the_speed_of_the_chips(base):
    last, first = base["stages"][-1], base["stages"][0]
    speed = 8 * 197e12 * 0.4

    assert last["time"]["seconds_per_step"] == pytest.approx(last["flops_per_step"] / speed)
    assert first["time"]["seconds_per_step"] == pytest.approx(
        1.5 * first["flops_per_step"] / speed
    )
    assert base["cost"] == pytest.approx(base["hours"] * 8 * 1.2)
    # 0.3 of the plain run at full speed, and the low-cost rest 1.5 times as long as counted.
    fractions = [row["share_of_plain"] for row in base["stages"]]
    duration = fractions[3] + 1.5 * sum(fractions[:3])
    assert base["speedup_percent_time"] == pytest.approx(100 * (1 / duration - 1))


def test_a_stage_with_fewer_layers_only_has_the_full_utilisation():
    settings, device = plans.published("bert_base_stack"), hardware.TABLE["h100"]
    family = families.find(settings.family)
    run_stages = stages.make(settings, family, vocabulary(settings.model.vocab_size))

    seconds = budget.assumed(settings, family, run_stages, device, 1, 0.5)

    assert seconds == pytest.approx([stage.flops / (0.5 * 989e12) for stage in run_stages])


def test_steps_of_other_sizes_are_also_compared_at_equal_tokens(small):
    plan, _ = small

    tokens = 8 * 7 * (16 + 16 + 32 + 32)
    assert (plan["tokens"], plan["plain"]["tokens"]) == (tokens, 8 * 28 * 32)
    per_token = plan["plain"]["flops"] / plan["plain"]["tokens"] * tokens / plan["flops"]
    assert plan["speedup_percent_equal_tokens"] == pytest.approx(100 * (per_token - 1))
    assert any("per token" in line for line in plan["assumptions"])


def test_the_disk_holds_every_stage_and_one_being_written(small):
    plan, _ = small
    sizes = [row["checkpoint_bytes"] for row in plan["stages"]]

    assert plan["disk_bytes"] == sum(sizes[:3]) + 3 * sizes[3]
    first = plan["stages"][0]["memory"]
    assert sizes[0] == pytest.approx(first["parameters"] + first["moments"], abs=100)


def test_evaluations_are_counted_beside_training(small):
    first, second, *_ = small[0]["stages"]

    # Steps 5 and 7 of the first stage; 7, 10 and 14 of the second.
    assert [row["evaluation"]["times"] for row in (first, second)] == [2, 3]
    assert first["evaluation"]["rows"] == 16
    # A step takes three forward passes over 8 sequences, an evaluation two over 16.
    ratio = first["evaluation"]["flops"] / first["flops_per_step"]
    assert ratio == pytest.approx(4 / 3, rel=0.05)


def test_without_a_store_none_is_read_or_made(small):
    _, cache_folder = small

    assert not any(cache_folder.iterdir())


@pytest.mark.slow
def test_calibration_replaces_the_assumed_speed(capsys):
    plan = make_plan(capsys, *SMALL, "--calibrate")
    times = [row["time"] for row in plan["stages"]]

    assert all(time["measured"] and time["seconds_per_step"] > 0 for time in times)
    assert plan["hours"] == pytest.approx(
        sum(7 * time["seconds_per_step"] for time in times) / 3600
    )
    assert plan["chips"] == jax.device_count()
    assert not any("1.5" in line for line in plan["assumptions"])


def test_the_table_fits_into_80_columns(base, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    table.show(dict(recipe="configs/bert_base_grow.py", **base))

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert (
        "predicted speed-up: +102.1 % in FLOPs, +68.9 % in time, over the plain recipe" in lines
    )


def test_the_vocabulary_is_that_of_the_store(capsys, store):
    """A store of 400 tokens, where the recipe would have 1,000."""
    settings = resolve.resolve(load.read("demo:scratch", ["--config.data.vocab_size=400"]))
    parameters = families.parameters(families.find("bert"), settings.model)

    plan = make_plan(capsys, "demo:scratch", f"--config.data.store={store.folder}")

    assert sum(plan["stages"][0]["parameters"].values()) == sum(parameters.values())
    assert "the vocabulary has 400 tokens, by the store" in plan["assumptions"]
    size = int(store.train.sizes.sum())
    assert plan["stores"] == [
        dict(store=str(store.folder), tokens=size, epochs=1200 * 32 * 64 / size)
    ]


def test_each_store_of_a_mixture_is_read_by_its_weight():
    plan = dict(tokens=1000)
    stores = [
        SimpleNamespace(folder=f"s{size}", meta=dict(splits=dict(train=dict(tokens=size))))
        for size in (100, 50)
    ]

    store_epochs.add(plan, stores, [1, 3])

    assert [row["epochs"] for row in plan["stores"]] == [2.5, 15]
    assert list(store_epochs.summary(plan)) == [
        "at most 2.5 epochs of s100, which has 100 training tokens",
        "at most 15 epochs of s50, which has 50 training tokens",
    ]


def test_a_store_that_is_not_there_is_one_line(capsys, tmp_path):
    line = refusal(capsys, *SMALL, f"--config.data.store={tmp_path / 'none'}")

    assert line == (
        f"bertgrow: {tmp_path / 'none'} is not a finished token store; make it with bertgrow "
        "prepare\n"
    )


@pytest.mark.parametrize(
    "kind, name",
    [("NVIDIA L4", "l4"), ("Tesla T4", "t4"), ("NVIDIA A100-SXM4-40GB", "a100"),
     ("TPU v5 lite", "v5e"), ("TPU v5", "v5p"), ("TPU v6 lite", "v6e")],
)  # fmt: skip
def test_a_device_is_known_by_the_name_that_jax_gives_it(kind, name):
    assert hardware.of_kind(kind).name == name


def test_a_device_of_another_name_is_refused():
    with pytest.raises(InputError, match="'NVIDIA L40S', is none of v4, .*"):
        hardware.of_kind("NVIDIA L40S")


def test_a_t4_is_planned_in_float32():
    """Its 65 TFLOP/s are in float16, and it computes bfloat16 in float32."""
    device = hardware.TABLE["t4"]

    assert (device.peak, device.dtype) == (8.1e12, "float32")
    assert "dtype 'auto' is float32" in device.source


@pytest.mark.parametrize(
    "options, error",
    [
        (["--chips=3"], "a batch of 8 sequences does not divide over 3 devices"),
        (["--chips=0"], "--chips is 0"),
        (["--mfu=1.5", "--device=cpu"], "--mfu is 1.5"),
        (["--price=1.5"], "--mfu and --price need --device"),
        (["--calibrate", "--device=v5e"], "--calibrate times the present device, cpu"),
        (["--calibrate", "--mfu=0.5"], "remove one of the two options"),
        (["--config.stages[0].num_layers=3"], "layers"),
        (
            ["--config.data.vocab_size=0"],
            "--config.data.store=STORE or --config.data.vocab_size=N",
        ),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(capsys, options, error):
    line = refusal(capsys, *SMALL, *options)

    assert error in line
    assert line.count("\n") == 1


def test_a_plan_is_made_for_the_dtype_of_its_device():
    settings, _ = plans.one_stage(dtype="auto")

    planned = estimate.in_dtype(settings, "bfloat16")

    assert planned.model == dataclasses.replace(settings.model, dtype="bfloat16")


def test_a_plan_counts_the_masking_rate_of_each_stage(capsys):
    config = f"{SMALL[0]}:masking"
    options = [*SMALL[1:], "--config.stages[1].masking.rate=0.4"]

    low, high = make_plan(capsys, config, *options)["stages"]

    assert [low["predictions"], high["predictions"]] == [5, 13]  # of 30 tokens and one more
    head = 2 * 16 * 16 + 2 * 16 * 400  # dense layer and tied table, forward FLOPs a position
    assert high["flops_per_step"] - low["flops_per_step"] == 3 * 8 * 8 * head
    assert high["memory"]["activations"] > low["memory"]["activations"]
