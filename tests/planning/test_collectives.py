"""Tests of what a train step moves between devices, read from the partitioned program."""

import functools
import math

import jax
import pytest

from bertgrow.models import families
from bertgrow.objectives import stages
from bertgrow.planning import calibration, collectives
from bertgrow.recipes import build, resolve
from bertgrow.train import loop, sharding

BATCH, LENGTH, WIDTH, VOCAB, LAYERS = 24, 40, 32, 160, 2
MESHES = {
    "data": {"data": 4},
    "fsdp": {"data": 1, "fsdp": 4},
    "tensor": {"data": 1, "fsdp": 2, "tensor": 2},
}


@functools.cache
def moved(mesh):
    """Collectives of the step of a small BERT with dropout on four devices."""
    recipe = build.pretraining()
    recipe.model = build.bert(
        vocab_size=VOCAB, num_layers=LAYERS, width=WIDTH, num_heads=4, ffn_width=64,
        max_length=LENGTH,
    )  # fmt: skip
    recipe.update(batch=BATCH, length=LENGTH)
    recipe.stages = build.stages(dict(steps=1))
    settings = resolve.resolve(recipe)
    vocab = calibration.vocabulary(VOCAB)
    stage = stages.make(settings, families.find("bert"), vocab)[0]
    mesh = sharding.make_mesh(MESHES[mesh], devices=jax.devices()[:4])
    place = sharding.batch_sharding(mesh)
    batch = jax.tree.map(
        lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=place),
        calibration.random_batch(BATCH, LENGTH, VOCAB),
    )
    state = loop.state_shapes(stage.task, stage.optimizer, mesh)
    step = loop.compile_step(stage.task, stage.optimizer, state, batch, mesh)
    return collectives.of_program(step.as_text())


@pytest.mark.parametrize("mesh", ["data", "fsdp"])
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


def test_data_parallelism_reduces_gradients_only():
    kinds = {each.kind for each in moved("data") if each.bytes > BATCH * LENGTH * 4}

    assert kinds == {"all-reduce"}


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
  ROOT %loop = f32[8]{0} while(%x), body=%body, backend_config={"known_trip_count":{"n":"3"}}
}
"""

    assert collectives.of_program(text) == [
        collectives.Collective("all-reduce", "f32", (8,), 3),
        collectives.Collective("all-gather", "bf16", (8, 4), 1),
    ]
