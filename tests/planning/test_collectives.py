"""Tests of what a train step moves between devices, read from the partitioned program."""

import functools
import math
from pathlib import Path

import jax
import pytest

from bertgrow.models import families
from bertgrow.objectives import stages
from bertgrow.planning import calibration, collectives, memory
from bertgrow.recipes import build, load, resolve
from bertgrow.train import loop, sharding

DISTILLATIONS = Path(__file__).parents[1] / "mobilebert/distillations.py"
BATCH, LENGTH, WIDTH, VOCAB, LAYERS = 24, 40, 32, 160, 2
UNTRAINED = ["embeddings", "mlm", "nsp", "pooler"]  # layer transfer trains the blocks alone
MESHES = {
    "data": {"data": 4},
    "fsdp": {"data": 1, "fsdp": 4},
    "both": {"data": 2, "fsdp": 2},
    "tensor": {"data": 1, "fsdp": 2, "tensor": 2},
}


def bert():
    """The recipe of a small BERT with dropout."""
    recipe = build.pretraining()
    recipe.model = build.bert(
        vocab_size=VOCAB, num_layers=LAYERS, width=WIDTH, num_heads=4, ffn_width=64,
        max_length=LENGTH,
    )  # fmt: skip
    recipe.update(batch=BATCH, length=LENGTH)
    recipe.stages = build.stages(dict(steps=1))
    return recipe


def distillation():
    fields = [f"--config.batch={BATCH}", f"--config.model.vocab_size={VOCAB}"]
    return load.read(f"{DISTILLATIONS}:every", fields)


@functools.cache
def stage_of(task):
    """The stage of a small recipe that has this task."""
    recipe = bert() if task == "masked_lm" else distillation()
    settings, vocab = resolve.resolve(recipe), calibration.vocabulary(VOCAB)
    made = stages.make(settings, families.find(settings.family), vocab)
    names = [stage.task for stage in settings.stages]
    return made[names.index(task)]


@functools.cache
def moved(mesh, accumulate=1, task="masked_lm"):
    """Collectives of a step on four devices."""
    stage, mesh = stage_of(task), sharding.make_mesh(MESHES[mesh], devices=jax.devices()[:4])
    place = sharding.batch_sharding(mesh)
    batch = jax.tree.map(
        lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=place),
        calibration.random_batch(BATCH, stage.length, VOCAB),
    )
    state = loop.state_shapes(stage.task, stage.optimizer, mesh)
    trained = stage.task._replace(frozen=memory.frozen(stage, mesh))
    step = loop.compile_step(
        trained, stage.optimizer, state, batch, mesh, accumulate=accumulate
    )
    return collectives.of_program(step.as_text())


def reductions(*arguments, **options):
    """Shapes of the arrays that a step reduces, with repetitions; scalars are metrics."""
    return sorted(
        each.shape
        for each in moved(*arguments, **options)
        if each.kind == "all-reduce" and each.shape
        for _ in range(each.count)
    )


def weights(task, *, untrained=()):
    """Shapes of the weights of a task, without the modules that have no gradient."""
    shapes = jax.eval_shape(stage_of(task).task.init, jax.random.key(0))
    trained = [part for name, part in shapes.items() if name not in untrained]
    return sorted(leaf.shape for leaf in jax.tree.leaves(trained))


@pytest.mark.parametrize("mesh", ["data", "fsdp", pytest.param("both", marks=pytest.mark.slow)])
def test_no_activations_move_between_devices(mesh):
    of_one_device = BATCH * LENGTH * WIDTH / 4  # elements of the residual stream

    too_large = [
        each
        for each in moved(mesh)
        if math.prod(each.shape) >= of_one_device and VOCAB not in each.shape
    ]

    assert not too_large


def test_fsdp_gathers_the_weights_of_every_layer_forwards_and_backwards():
    gathered = {each.shape: each.count for each in moved("fsdp") if each.kind == "all-gather"}

    assert gathered[WIDTH, 64] == gathered[64, WIDTH] == 2 * LAYERS


@pytest.mark.parametrize("accumulate", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_data_parallelism_reduces_each_gradient_once_a_step(accumulate):
    found = moved("data", accumulate=accumulate)

    # Without sentence pairs the pooler has no gradient.
    expected = weights("masked_lm", untrained=["pooler"])
    assert reductions("data", accumulate=accumulate) == expected
    assert {each.dtype for each in found if each.kind == "all-reduce"} == {"f32", "s32"}
    # The draws of masks are sorted, for which they are gathered.
    others = [each.shape for each in found if each.kind != "all-reduce"]
    assert others == [(BATCH, LENGTH)]


@pytest.mark.slow
@pytest.mark.parametrize("task, untrained", [("distill", []), ("progressive", UNTRAINED)])
def test_distillation_reduces_each_gradient_once_a_step(task, untrained):
    expected = weights(task, untrained=untrained)
    assert reductions("data", accumulate=2, task=task) == expected


@pytest.mark.slow
def test_tensor_parallelism_moves_activations():
    shapes = {each.shape for each in moved("tensor")}

    assert (BATCH // 2 * LENGTH, WIDTH) in shapes


def test_collectives_in_loops_count_once_for_each_iteration():
    text = """HloModule step

%body (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  ROOT %sum = f32[8]{0} all-reduce(%x), to_apply=%add
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %gather = (bf16[2,4]{1,0}, bf16[8,4]{1,0}) all-gather-start(%y), dimensions={0}
  %done = bf16[8,4]{1,0} all-gather-done(%gather)
  %next = (f32[2,4]{1,0}, f32[2,4]{1,0}, u32[], u32[]{:S(2)}) collective-permute-start(%z)
  ROOT %loop = f32[8]{0} while(%x), body=%body, backend_config={"known_trip_count":{"n":"3"}}
}
"""

    assert collectives.of_program(text) == [
        collectives.Collective("all-reduce", "f32", (8,), 3),
        collectives.Collective("all-gather", "bf16", (8, 4), 1),
        collectives.Collective("collective-permute", "f32", (2, 4), 1),
    ]
