"""Tests of the FLOPs formula against published savings and the compiler."""

import dataclasses

import jax
import pytest
import tiny

from bertgrow.core import flops
from bertgrow.models.bert import BertConfig, network

BASE = BertConfig(next_sentence=True)
LARGE = dataclasses.replace(BASE, num_layers=24, width=1024, num_heads=16, ffn_width=4096)


def cost(config, **overrides):
    config = dataclasses.replace(config, **overrides)
    return flops.train_step_flops(config, 512, 76, batch=256)


@pytest.mark.parametrize("full, stacked, compound", [(BASE, 69.4, 102.1), (LARGE, 72.1, 107.9)])
def test_published_schedules_have_the_published_speedups(full, stacked, compound):
    depths = [full.num_layers // 4, full.num_layers // 2, full.num_layers]
    stack = [
        (steps, cost(full, num_layers=depth))
        for steps, depth in zip((300, 400, 300), depths, strict=True)
    ]
    low_cost = [
        (steps, cost(full, num_layers=depth, pool=2, ffn_share=2))
        for steps, depth in zip((200, 200, 300), depths, strict=True)
    ]

    end = (1000, cost(full))
    savings = flops.speedup(stack, end), flops.speedup([*low_cost, (300, cost(full))], end)

    assert [round(100 * saving, 1) for saving in savings] == [stacked, compound]


def test_full_models_take_100_and_340_gigaflops_a_sequence():
    totals = [sum(flops.forward(config, 512, 76).values()) for config in (BASE, LARGE)]

    assert [round(total / 1e9, 1) for total in totals] == [100.3, 339.9]


@pytest.mark.parametrize(
    "overrides",
    [
        {"num_layers": 1},
        {"num_layers": 2, "pool": 2, "ffn_share": 2},
        {"num_layers": 2, "pool": 2, "pool_mode": "concat"},
        {"num_layers": 1, "ffn_rank": 154},
        {"num_layers": 2, "light_every": 2},
        {"num_layers": 2, "light_every": 2, "pool": 2},
    ],
)
def test_the_compiler_counts_the_same(overrides):
    """A loop's body is counted once, so the scan has at most one iteration here.

    The compiler also counts elementwise work, under 2 % at this width.
    """
    config = BertConfig(vocab_size=1000, next_sentence=True, dtype="float32", **overrides)
    net = network(config)
    params = jax.eval_shape(net.init, jax.random.key(0))
    inputs = tiny.inputs(batch=1, length=128, max_predictions=20)

    def outputs(params):
        out = net.apply(params, inputs)
        return out["mlm_logits"], out["nsp_logits"]

    counted = jax.jit(outputs).lower(params).cost_analysis()["flops"]

    expected = sum(flops.forward(config, 128, 20).values())
    assert counted == pytest.approx(expected, rel=0.02)
