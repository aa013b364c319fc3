"""Tests of `bertgrow plan` against published figures, the compiler and memory limits."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from bertgrow import cli
from bertgrow.core.errors import InputError
from bertgrow.core.types import StageContext
from bertgrow.growth.operators import masked
from bertgrow.models import families
from bertgrow.objectives import stages
from bertgrow.planning import estimate, hardware, memory, store_epochs, table, traced
from bertgrow.planning.calibration import vocabulary
from bertgrow.recipes import load, resolve
from bertgrow.train import evaluation, loop, sharding

ROOT = Path(__file__).resolve().parents[2]
SMALL = [str(ROOT / "tests/small_recipe.py"), "--config.data.vocab_size=400"]
MODEL = (
    "num_layers=4", "width=128", "num_heads=2", "ffn_width=512", "vocab_size=1000",
    "max_length=64",
)  # fmt: skip


def recipe(name):
    return str(ROOT / "configs" / f"{name}.py")


def plan(capsys, config, *options):
    """What `bertgrow plan --json` prints."""
    assert cli.main(["plan", "--config", config, "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys, *options):
    """The line on which the command ends."""
    assert cli.main(["plan", "--config", *options]) == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def base():
    settings = resolve.resolve(load.read(recipe("bert_base_grow"), []))
    settings = estimate.in_dtype(settings, "bfloat16")
    return estimate.make(settings, device=hardware.TABLE["v5e"], chips=8, price=1.2)


def test_bert_base_has_the_parameters_of_the_paper(base):
    found = [row["parameters"] for row in base["stages"]]

    assert [row["encoder"] for row in found] == [38608896, 52790016, 81152256, 109482240]
    # The masked-token head of the paper, and a next-sentence head of 768 x 2 + 2.
    assert {row["heads"] for row in found} == {622650 + 1538}


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
def test_the_other_recipes_save_what_they_say(capsys, name, encoder, speedup):
    told = plan(capsys, recipe(name))

    assert round(told["speedup_percent"], 1) == speedup
    assert told["stages"][-1]["predictions"] == 76
    if encoder:
        assert [row["parameters"]["encoder"] for row in told["stages"]] == encoder


def test_hours_are_flops_over_what_the_chips_do(base):
    last, first = base["stages"][-1], base["stages"][0]
    rate = 8 * 197e12 * 0.4

    assert last["time"]["seconds_per_step"] == pytest.approx(last["flops_per_step"] / rate)
    assert first["time"]["seconds_per_step"] == pytest.approx(
        1.5 * first["flops_per_step"] / rate
    )
    assert base["cost"] == pytest.approx(base["hours"] * 8 * 1.2)
    # 0.3 of the plain run at full speed, and the low-cost rest 1.5 times as long as counted.
    shares = [row["share_of_plain"] for row in base["stages"]]
    took = shares[3] + 1.5 * sum(shares[:3])
    assert base["speedup_percent_time"] == pytest.approx(100 * (1 / took - 1))


def test_what_does_not_fit_comes_with_what_would(base):
    fits = [row["memory"]["fits"] for row in base["stages"]]
    assert fits == [True, True, True, False]

    settings = resolve.resolve(
        load.read(
            recipe("bert_base_grow"), [f"--config.{f}={v}" for f, v in base["advice"].items()]
        )
    )
    settings = estimate.in_dtype(settings, "bfloat16")
    again = estimate.make(settings, device=hardware.TABLE["v5e"], chips=8)

    assert all(row["memory"]["fits"] for row in again["stages"])


def test_depth_alone_costs_no_utilisation(capsys):
    told = plan(capsys, recipe("bert_base_stack"), "--device=h100", "--mfu=0.5")

    assert [row["time"]["utilisation"] for row in told["stages"]] == pytest.approx([0.5] * 3)
    assert told["speedup_percent_time"] == pytest.approx(told["speedup_percent"])


def test_steps_of_other_sizes_are_also_compared_at_equal_tokens(capsys):
    told = plan(capsys, *SMALL)

    read = 8 * 7 * (16 + 16 + 32 + 32)
    assert (told["tokens"], told["plain"]["tokens"]) == (read, 8 * 28 * 32)
    per_token = told["plain"]["flops"] / told["plain"]["tokens"] * read / told["flops"]
    assert told["speedup_percent_equal_tokens"] == pytest.approx(100 * (per_token - 1))
    assert any("per token" in line for line in told["assumptions"])


def test_a_mesh_divides_weights_and_moments_and_names_what_stays_whole(capsys):
    one = plan(capsys, recipe("bert_base_stack"))["stages"][-1]["memory"]
    told = plan(
        capsys, recipe("bert_base_stack"), "--chips=8",
        "--config.mesh.fsdp=2", "--config.mesh.tensor=4",
    )  # fmt: skip
    shared = told["stages"][-1]["memory"]

    assert told["mesh"] == {"data": 1, "fsdp": 2, "tensor": 4}
    # The word table is only halved, since 4 does not divide 30522; the layers are in eighths.
    # The rest, 3 %, is small and has no axis that `tensor` divides.
    table = 4 * 30522 * 768
    eighth = (one["parameters"] - table) / 8 + table / 2
    assert shared["parameters"] == pytest.approx(eighth, rel=0.04)
    assert shared["moments"] == pytest.approx(2 * shared["parameters"], rel=1e-3)
    assert [(w["axis"], w["size"], w["along"]) for w in told["whole"]] == [
        ("vocab", 30522, "tensor")
    ]


def test_the_disk_holds_every_stage_and_one_being_written(capsys):
    told = plan(capsys, *SMALL)
    sizes = [row["checkpoint_bytes"] for row in told["stages"]]

    assert told["disk_bytes"] == sum(sizes[:3]) + 3 * sizes[3]
    first = told["stages"][0]["memory"]
    assert sizes[0] == pytest.approx(first["parameters"] + first["moments"], abs=100)


def test_full_remat_keeps_of_a_layer_only_its_input():
    inputs = 4 * 8 * 64 * 128
    key = 1000  # bytes at most, for dropout

    kept = saved(num_layers=3, remat="full") - saved(num_layers=2, remat="full")

    assert inputs <= kept <= inputs + key
    assert saved(num_layers=3) - saved(num_layers=2) > 8 * inputs


def test_a_layer_in_bfloat16_keeps_nothing_in_float32():
    """The inputs of products and norms, and what attention reads: 18 of [rows, width].

    The FFN's are of four widths; the query, key and value products keep one input each.
    """
    inputs, weights, salts = 2 * 8 * 64 * 128, 2 * 12 * 128**2, 1000

    kept = saved(num_layers=3, dtype="bfloat16") - saved(num_layers=2, dtype="bfloat16")

    assert kept <= 18 * inputs + weights + salts


def test_evaluation_keeps_no_outputs_of_layers():
    """Figures of each layer are reduced inside the scan: depth takes no memory."""
    two, six = (working(num_layers=layers) for layers in (2, 6))

    assert six - two < 100  # two more figures a layer


def working(**model):
    settings, family = small(**model)
    task = stages.task(StageContext(family, settings, 0, vocabulary(1000)))
    return traced.peak_bytes(memory.evaluation_trace(task, 8, 64))


def test_evaluations_are_counted_beside_training(capsys):
    first, second, *_ = plan(capsys, *SMALL, "--config.eval.every=5")["stages"]

    # Steps 5 and 7 of the first stage; 7, 10 and 14 of the second.
    assert [row["evaluation"]["times"] for row in (first, second)] == [2, 3]
    assert first["evaluation"]["rows"] == 16
    # A step takes three forward passes over 8 rows, an evaluation two over 16.
    ratio = first["evaluation"]["flops"] / first["flops_per_step"]
    assert ratio == pytest.approx(4 / 3, rel=0.05)


def test_a_plan_counts_both_states_of_a_growth_and_its_certificate(base):
    before, after = (row["memory"] for row in base["stages"][:2])
    states = [memory["parameters"] + memory["moments"] for memory in (before, after)]
    logits = 4 * 2 * 76 * 30522  # 16 rows on 8 chips

    assert after["growth"] == pytest.approx(sum(states), abs=100)
    assert after["certificate"] > states[0] + after["parameters"] + 2 * logits
    assert before["growth"] == before["certificate"] == 0


def test_a_growth_that_does_not_fit_is_marked():
    fixed = dict.fromkeys(("frozen", "moments", "gradients", "certificate"), 0)
    by_remat = dict(none=1, dots=1, full=1)
    stage = fixed | dict(rows=1, parameters=1, activations_by_remat=by_remat, growth=9)
    stage |= dict(evaluation_working=1)
    stages = [stage, stage | dict(growth=0)]

    advice = memory.fit(stages, 5, remat="none", accumulate=1)

    assert [each["fits"] for each in stages] == [False, True]
    assert advice == dict(advice={})


def test_what_is_kept_grows_with_the_rows():
    settings, family = small()
    task = stages.task(StageContext(family, settings, 0, vocabulary(1000)))

    eight, sixteen, more = (memory.saved(task, rows, 64) for rows in (8, 16, 24))

    assert more - sixteen == sixteen - eight > 0.9 * eight


def test_weights_that_are_partly_hidden_are_kept_beside_those_that_learn():
    settings, family = small()
    task = stages.task(StageContext(family, settings, 0, vocabulary(1000)))
    down = 4 * 4 * 512 * 128  # of 4 layers; alone sums over what is new

    hidden = masked.ramped(task, {"mlp": np.arange(512) >= 256}, start=0, ramp=2)

    more = memory.saved(hidden, 8, 64) - memory.saved(task, 8, 64)
    assert down <= more < 1.1 * down


def saved(**model):
    settings, family = small(**model)
    task = stages.task(StageContext(family, settings, 0, vocabulary(1000)))
    return memory.saved(task, 8, 64)


def small(**model):
    model = {"dtype": "float32"} | model
    fields = [*MODEL, *(f"{name}={value}" for name, value in model.items())]
    given = [f"--config.model.{field}" for field in fields]
    given += ["--config.length=64", "--config.batch=8"]
    return resolve.resolve(load.read(recipe("bert_base"), given)), families.find("bert")


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["none", "dots", "full"])
def test_the_compiler_allots_what_the_plan_says(remat):
    """Within a fifth: the compiler frees and fuses, and holds more than one layer in work."""
    settings, family = small(remat=remat)
    (stage,) = stages.make(settings, family, vocabulary(1000))
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    state = loop.state_shapes(stage.task, stage.optimizer, mesh)
    compiled = loop.compile_step(
        stage.task, stage.optimizer, state, memory.batch_shapes(8, 64), mesh
    ).memory_analysis()
    allotted = compiled.argument_size_in_bytes + compiled.temp_size_in_bytes

    (told,) = estimate.make(settings)["stages"]

    assert told["memory"]["total"] == pytest.approx(allotted, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("batch, slices, length", [(32, 4, 64), (8, 2, 256)])
def test_the_compiler_allots_to_an_evaluation_what_the_plan_says(batch, slices, length):
    """Within three tenths: a CPU's compiler reuses buffers, and fuses less than others."""
    settings, family = small(max_length=length)
    settings = dataclasses.replace(settings, accumulate=slices)
    config = dataclasses.replace(settings.stages[0], batch=batch, length=length)
    settings = dataclasses.replace(settings, stages=(config,))
    (stage,) = stages.make(settings, family, vocabulary(1000))
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    params = loop.state_shapes(stage.task, stage.optimizer, mesh).params
    compiled = evaluation.compile_evaluation(
        stage.task, params, memory.batch_shapes(batch, length), mesh, accumulate=slices
    ).memory_analysis()

    (told,) = estimate.make(settings)["stages"]

    working = told["memory"]["evaluation_working"]
    assert working == pytest.approx(compiled.temp_size_in_bytes, rel=0.3)


@pytest.mark.slow
def test_calibration_replaces_the_assumed_speed(capsys):
    told = plan(capsys, *SMALL, "--calibrate")
    times = [row["time"] for row in told["stages"]]

    assert all(time["measured"] and time["seconds_per_step"] > 0 for time in times)
    assert told["hours"] == pytest.approx(
        sum(7 * time["seconds_per_step"] for time in times) / 3600
    )
    assert told["chips"] == jax.device_count()
    assert not any("1.5" in line for line in told["assumptions"])


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
    recipe = f"{ROOT}/configs/demo.py:scratch"
    settings = resolve.resolve(load.read(recipe, ["--config.data.vocab_size=400"]))
    parameters = families.parameters(families.find("bert"), settings.model)

    found = plan(capsys, recipe, f"--config.data.store={store.folder}")

    assert sum(found["stages"][0]["parameters"].values()) == sum(parameters.values())
    assert "the vocabulary has 400 tokens, by the store" in found["assumptions"]
    size = int(store.train.sizes.sum())
    assert found["stores"] == [
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
    assert list(store_epochs.findings(plan)) == [
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
    assert "config.model.dtype=float32" in device.source


def test_no_store_is_read_or_made(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    plan(capsys, recipe("bert_base_grow") + ":smoke")

    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options, told",
    [
        (["--chips=3"], "a batch of 8 rows does not divide over 3 devices"),
        (["--chips=0"], "--chips is 0"),
        (["--mfu=1.5", "--device=cpu"], "--mfu is 1.5"),
        (["--price=1.5"], "--mfu and --price need --device"),
        (["--calibrate", "--device=v5e"], "--calibrate times the present device, cpu"),
        (["--calibrate", "--mfu=0.5"], "leave one of them away"),
        (["--config.stages[0].num_layers=3"], "layers"),
        (
            ["--config.data.vocab_size=0"],
            "--config.data.store=STORE or --config.data.vocab_size=N",
        ),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(capsys, options, told):
    line = refusal(capsys, *SMALL, *options)

    assert told in line
    assert line.count("\n") == 1


def test_a_plan_is_made_for_the_dtype_of_its_device():
    settings, _ = small(dtype="auto")

    settled = estimate.in_dtype(settings, "bfloat16")

    assert settled.model == dataclasses.replace(settings.model, dtype="bfloat16")


def test_a_plan_counts_the_masking_rate_of_each_stage(capsys):
    config = f"{SMALL[0]}:masking"

    given = [*SMALL[1:], "--config.stages[1].masking.rate=0.4"]
    low, high = plan(capsys, config, *given)["stages"]

    assert [low["predictions"], high["predictions"]] == [5, 13]  # of 30 tokens and one more
    head = 2 * 16 * 16 + 2 * 16 * 400  # dense layer and tied table, forward FLOPs a position
    assert high["flops_per_step"] - low["flops_per_step"] == 3 * 8 * 8 * head
    assert high["memory"]["activations"] > low["memory"]["activations"]
